"""The command that reproduces a case says all that the case is: read back, it is the same case."""

from __future__ import annotations

import os
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cases.catalogue import DECLARED
from harness.compare.setting import Setting
from harness.drivers.messages import RunEngine
from harness.drivers.timeouts import Timeouts
from harness.engines.vllm.options import PARTITION
from harness.families.registry import causal, preset
from harness.prompts import strategies
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.verification import mates
from harness.verification.catalogue import declared, load
from harness.verification.interpreters import Asking
from harness.verification.reproduce import command, quoted
from harness.verification.verify import Batch
from tests.verification.reproducing import asked, words_of

OTHER = Setting.of(
    backend="cpu", runner="v2", dtype="bfloat16", kv_dtype="fp8", mode="compiled", chunk=16, prefix_caching=True,
    mates=("t5", "i9 seed=7"), tensor_parallel=2, overlays=("pr-50539",), reference="sdpa", block_size=64,
    arguments=(("max_num_seqs", "7"),), layers=(0,), positions=(-1, 2), mates_after=("t3 seed=0",),
)  # fmt: skip
"""A setting that differs from the default in every field."""
HERE = SimpleNamespace(sides=(), timeouts=Timeouts(), asking=Asking())


def run_again(case: Case, setting: Setting, **more: object):
    spec = preset(case.model)
    line = command(case, setting, spec, **more)
    return line, asked(line)


def test_every_field_of_a_setting_is_in_the_command() -> None:
    default = Setting()
    assert all(getattr(OTHER, field.name) != getattr(default, field.name) for field in fields(Setting))
    _, again = run_again(Case("run", "", "t3 i5"), OTHER)
    assert again.setting == OTHER


@given(
    layout=strategies.layouts(max_tokens=40),
    seed=st.integers(0, 2**32 - 100),
    model=st.sampled_from(["tiny", "deep", "31b-small-causal"]),
)
def test_a_layout_comes_back_with_its_seed_and_model(layout: Layout, seed: int, model: str) -> None:
    case = Case("run", str(layout), str(layout), model, seed=seed)
    _, again = run_again(case, Setting())
    assert (again.case, again.spec, again.declared) == (case, preset(model), [])


def test_a_causal_twin_is_what_the_mutants_are_searched_for_with() -> None:
    assert preset("31b-shape-causal") == causal(preset("31b-shape"))


def test_a_pipeline_that_the_shell_has_cut_is_cut_so_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks, case = Setting.of(pipeline_parallel=2), Case("run", "", "t3")
    monkeypatch.setenv(PARTITION, "1, 1")
    line, label = command(case, ranks, preset("tiny")), Setting.of(pipeline_parallel=2).label
    alone = command(case, Setting(), preset("tiny"))
    monkeypatch.delenv(PARTITION)
    assert line == f"{PARTITION}='1, 1' {command(case, ranks, preset('tiny'))}"
    assert label == "triton auto float32 pp 2 of 1, 1 layers"
    assert alone == command(case, Setting(), preset("tiny"))


def test_declarations_are_heeded_again() -> None:
    line, again = run_again(Case("two-images", "", "t3 i5"), Setting(), declared=DECLARED)
    assert "--known" in line and again.declared == DECLARED


def test_a_known_file_is_named_from_the_root_and_heeded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "what we know.toml"
    path.write_text("[[known]]\npolicy = 'drop'\nlink = 'https://example.org/1'\nreason = 'seen'\n")
    monkeypatch.chdir(tmp_path)
    known = declared([path.name])
    for more in ([], DECLARED):
        line, again = run_again(Case("run", "", "t3 i5"), Setting(), declared=[*known, *more])
        assert again.declared == [*known, *more]
        assert words_of(line).count("--known") == 1 + bool(more) and str(path) in words_of(line)


def test_a_catalogue_of_ones_own_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = list(load("examples/my_cases").declared)
    _, again = run_again(Case("run", "", "t3 i5"), Setting(), declared=known)
    assert again.declared == known


def test_a_value_that_looks_like_an_option_is_a_value() -> None:
    _, again = run_again(Case("run", "", text="--known"), Setting(), declared=DECLARED)
    assert again.case.text == "--known" and again.declared == DECLARED


def test_what_the_sides_are_and_how_long_they_have_is_named() -> None:
    there = SimpleNamespace(sides=("--reference", sys.executable), timeouts=Timeouts(60, 70), asking=Asking())
    _, again = run_again(Case("run", "", "t3"), Setting(), session=there)
    assert (again.sides["reference_python"], again.sides["timeouts"]) == (sys.executable, there.timeouts)
    assert "--reference" not in command(Case("run", "", "t3"), Setting(), preset("tiny"), HERE)


@pytest.mark.parametrize("adapter", ["request", "mates"])
def test_the_others_of_a_batch_have_the_adapter_again_or_have_it_not(adapter: str) -> None:
    layouts, under = [Layout.parse(text) for text in ("t5", "t9")], Setting.of(adapter=adapter, mates=("t3",))
    batch = Batch.of(layouts, under, preset("tiny"), "batch", HERE)

    def adapted(setting: Setting, before: list, prompts: list, after: list) -> list[str]:
        marks, names = mates.adapted(setting), [*"abc"]
        asked = RunEngine((*prompts,), Path(), (*before,), (*after,), adapter=adapter, with_adapter=marks)
        return asked.adapted(names)

    together = adapted(under, batch.mates, batch.prompts, batch.after)
    assert together == (["b", "c"] if adapter == "request" else ["a"])
    for prompt, line in zip(batch.prompts, batch.commands, strict=True):
        again = asked(line)
        before, after = mates.prompts(again.setting, again.spec, again.case.seed)
        assert adapted(again.setting, before, [prompt], after) == together


@pytest.mark.parametrize("company", [{}, {"mates": ("t2 seed=9", "t3"), "mates_after": ("i2 t4",), "decode": 2}])
def test_a_member_of_a_batch_has_its_place_and_the_others_their_words(company: dict[str, Any]) -> None:
    layouts = [Layout.parse(text) for text in ("t5", "i4 t2", "t9")]
    batch = Batch.of(layouts, Setting.of(**company), preset("tiny"), "batch", HERE, seed=40)
    assert [len(batch.mates), len(batch.after)] == [len(company.get(name, ())) for name in ("mates", "mates_after")]
    for place, line in enumerate(batch.commands):
        again = asked(line)
        before, after = mates.prompts(again.setting, again.spec, again.case.seed)
        assert [*before, batch.prompts[place], *after] == [*batch.mates, *batch.prompts, *batch.after]
        assert len(before) == place + len(batch.mates) and again.case.seed == 40 + place


def test_a_given_checkpoint_and_pictures_are_named_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "a [b] c.png"
    Image.new("RGB", (4, 4)).save(picture)
    spec = replace(preset("tiny"), name="checkpoint", source=str(tmp_path / "checkpoint"))
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.chdir(tmp_path)
    line = command(
        Case("run", "", images=(picture.name,), text="<|image|> it's\n$HOME", model="checkpoint"), Setting(), spec
    )
    words = words_of(line)
    assert words[words.index("--image") + 1] == os.fspath(picture)
    assert words[words.index("--model") + 1] == spec.source
    assert words[words.index("--text") + 1] == "<|image|> it's\n$HOME"


def test_a_message_with_files_is_one_again_and_one_to_a_server_needs_no_option() -> None:
    case = Case("run", "", text="hello", chat=True, images=("a.png",), videos=("b.mp4",), clips=("c.wav", "d.wav"))
    line = command(case, Setting(), preset("tiny"), HERE)
    files = ("--image", "a.png", "--video", "b.mp4", "--audio", "c.wav", "--audio", "d.wav")
    named = " ".join(os.path.abspath(word) if "." in word else word for word in files)
    assert f" {named} " in line and " --chat" in line
    served = SimpleNamespace(sides=(), timeouts=Timeouts(), asking=Asking(("attach", "http://h"), (), says_chat=False))
    assert "--chat" not in command(case, Setting(), preset("tiny"), served)


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1))
def test_a_word_comes_back_from_a_shell(word: str) -> None:
    line = quoted(word)
    assert line.isprintable() and words_of(line) == [word]


def test_a_name_that_is_not_unicode_comes_back_too() -> None:
    word = os.fsdecode(b"\xff\x9b1'a\\.png")
    assert words_of(quoted(word)) == [word]
