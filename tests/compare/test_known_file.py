"""A known file is read field by field: what it declares holds where it says, and one line names what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.compare.known import Declared
from harness.compare.known_file import CONDITIONS, read
from harness.compare.setting import PART_OF, PARTS, Setting
from harness.errors import UsageError
from harness.options import declared

LINK = "https://github.com/vllm-project/vllm/pull/50539"
WHOLE = {"policy": '"drop"', "link": f'"{LINK}"', "reason": '"long images are causal"'}


def write(path: Path, *entries: dict[str, str]) -> Path:
    lines = ["[[known]]\n" + "".join(f"{name} = {value}\n" for name, value in entry.items()) for entry in entries]
    path.write_text("\n".join(lines))
    return path


def entry(**fields: str | None) -> dict[str, str]:
    return {name: value for name, value in {**WHOLE, **fields}.items() if value is not None}


def test_a_declaration_has_its_fields_and_knows_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path / "known.toml",
        entry(),
        entry(policy=None, failure='"died (signal SIGSEGV)"'),
        entry(policy=None, precision='"tf32"'),
    )
    monkeypatch.chdir(tmp_path)
    place = str(tmp_path / "known.toml")
    alike = {"link": LINK, "reason": "long images are causal", "file": place}
    assert read("known.toml") == [
        Declared(policy="drop", **alike),
        Declared(failure="died (signal SIGSEGV)", certain=True, **alike),
        Declared(precision="tf32", **alike),
    ]


def test_an_empty_file_declares_nothing(tmp_path: Path) -> None:
    assert read(write(tmp_path / "known.toml")) == []


def test_a_failure_that_comes_sometimes_is_not_certain(tmp_path: Path) -> None:
    (one,) = read(
        write(tmp_path / "known.toml", entry(policy=None, failure='"died (signal SIGSEGV)"', sometimes="true"))
    )
    assert not one.certain


@pytest.mark.parametrize(
    ("settings", "holds", "fails"),
    [
        ('{ runner = "v2" }', {"runner": "v2"}, {"runner": "v1"}),
        ('{ runner = ["v1", "v2"] }', {"runner": "v1"}, {}),
        ('{ backend = "flash" }', {"backend": "FLASH_ATTN"}, {"backend": "triton"}),
        ('{ backend = "TRITON_ATTN" }', {"backend": "triton"}, {"backend": "cpu"}),
        ('{ backend = "CPU_ATTN" }', {"backend": "cpu"}, {"backend": "triton"}),
        (
            "{ serving-arg = 'cudagraph_capture_sizes=[1, 2]' }",
            {"arguments": (("cudagraph_capture_sizes", "[1,2]"),)},
            {"arguments": (("cudagraph_capture_sizes", "[1]"),)},
        ),
        (
            """{ serving-arg = 'compilation_config={"pass_config": {"a": 1}}' }""",
            {"arguments": (("compilation_config", '{"pass_config":{"a":1,"b":2},"c":3}'),)},
            {"arguments": (("compilation_config", '{"pass_config":{"a":2}}'),)},
        ),
        ("{ chunk = [16, 32] }", {"chunk": 32}, {"chunk": 64}),
        ("{ prefix-caching = true }", {"prefix_caching": True}, {}),
        ('{ kv-dtype = "fp8", mode = "compiled" }', {"kv_dtype": "fp8", "mode": "compiled"}, {"kv_dtype": "fp8"}),
        (
            '{ serving-arg = "max_num_seqs=8" }',
            {"arguments": (("seed", "1"), ("max_num_seqs", "8"))},
            {"arguments": (("max_num_seqs", "9"),)},
        ),
        ('{ overlay = "pr-50539" }', {"overlays": ("pr-50539",)}, {}),
    ],
)
def test_it_holds_for_its_settings(tmp_path: Path, settings: str, holds: dict, fails: dict) -> None:
    (one,) = read(write(tmp_path / "known.toml", entry(settings=settings, releases='">=0.25,<0.33"')))
    assert one.holds(Setting.of(**holds), "0.32.0") and not one.holds(Setting.of(**holds), "0.33.0")
    assert not one.holds(Setting.of(**fails), "0.32.0") or holds == {"runner": "v1"}


def test_logits_are_declared_with_what_mends_them_and_the_models_that_have_it(tmp_path: Path) -> None:
    text = entry(
        policy=None,
        logits="true",
        mended_by='["pipeline-per-layer-inputs"]',
        model_has='["per_layer_input"]',
        settings="{ pipeline-parallel = 2 }",
    )
    certain, sometimes = read(write(tmp_path / "known.toml", text, {**text, "sometimes": "true"}))
    assert certain.logits and certain.certain and not sometimes.certain
    assert certain.mended_by == ("pipeline-per-layer-inputs",) and certain.model_has == ("per_layer_input",)
    assert certain.holds(Setting.of(pipeline_parallel=2), "0.32.0") and not certain.holds(Setting.of(), "0.32.0")


def test_it_may_be_there_only_where_nothing_could_be_observed_or_with_a_cache_of_the_reference(tmp_path: Path) -> None:
    cache = "{ reference-cache = 'static', prefill-chunk-size = [4, 8] }"
    text = entry(unobserved="true"), entry(reference='"transformers"', settings=cache)
    unseen, cached = read(write(tmp_path / "known.toml", *text))
    assert unseen.unobserved and not cached.unobserved
    static = Setting.of(reference_cache="static", prefill_chunk_size=8)
    assert cached.holds_of("transformers", "0.30", "gemma4", static)
    assert not cached.holds_of("transformers", "0.30", "gemma4", static.with_(prefill_chunk_size=None))
    assert not cached.holds_of("transformers", "0.30", "gemma4")


def test_of_a_reference_one_member_of_a_family_may_be_meant(tmp_path: Path) -> None:
    (one,) = read(write(tmp_path / "known.toml", entry(reference='"transformers"', member='"gemma4_unified"')))
    assert one.holds_of("transformers", "0.30", "gemma4", member="gemma4_unified")
    assert not one.holds_of("transformers", "0.30", "gemma4", member="gemma4")


def test_an_option_that_needs_another_one_can_be_a_condition_alone(tmp_path: Path) -> None:
    text = entry(settings="{ speculate = 2 }"), entry(settings='{ adapter = ["mates", "request"] }')
    drafts, adapted = read(write(tmp_path / "known.toml", *text))
    assert drafts.settings == (("speculate", (2,)),) and adapted.settings == (("adapter", ("mates", "request")),)


def test_every_option_that_changes_what_is_served_or_compared_with_can_be_a_condition() -> None:
    fields = {field for field, *_ in CONDITIONS.values()}
    selected = {field.name for field, _ in declared(PARTS["selection"])}
    assert fields == {*PART_OF, "overlays"} - selected


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"policy": '"dropp"'}, "policy: 'dropp' is not allowed; one of clamp, drop, "),
        ({"policy": "3"}, "policy: 3 is not allowed; one of clamp, drop, "),
        ({"precision": '"tf32"'}, "exactly one of policy, precision, failure and logits, and not policy and precision"),
        ({"policy": None}, "exactly one of policy, precision, failure and logits, and not none"),
        ({"member": '"gemma4_unified"'}, "member goes with reference"),
        ({"reference": '"official"', "member": '"12b"'}, "member: '12b' is not allowed; one of gemma4, gemma4_unified"),
        (
            {"policy": None, "failure": '"e"'},
            "failure: 'e' is not allowed; what tells this failure from every other one",
        ),
        (
            {"policy": None, "failure": '"serving driver died"'},
            "failure: 'serving driver died' is not allowed; what tells this failure from every other one",
        ),
        (
            {"policy": None, "failure": '"RuntimeError: "'},
            "failure: 'RuntimeError: ' is not allowed; what tells this failure from every other one",
        ),
        (
            {"policy": None, "failure": '"Engine core initialization failed"'},
            "failure: 'Engine core initialization failed' is not allowed; what tells this failure",
        ),
        ({"policy": None, "failure": '" "'}, "failure: ' ' is not allowed; text that is not empty"),
        ({"policy": None, "precision": '"bf8"'}, "precision: 'bf8' is not allowed; one of tf32"),
        ({"link": None}, "link: it is missing; the address of the issue or pull request"),
        ({"link": '"#50539"'}, "link: '#50539' is not allowed; the address of"),
        ({"reason": '""'}, "reason: '' is not allowed; text that is not empty"),
        ({"releases": '"0.25+"'}, "releases: '0.25+' is not allowed; releases of vLLM as pip has them"),
        (
            {"releases": '"==0.25.1+cpu"'},
            "releases: '==0.25.1+cpu' is not allowed; releases without what stands after a +",
        ),
        ({"releases": '">=0.33,<0.25"'}, "releases: '>=0.33,<0.25' is not allowed; releases of which there can be one"),
        ({"release": '">=0.25"'}, "release: '>=0.25' is not allowed; the fields are policy, "),
        ({"sometimes": "true"}, "sometimes goes with failure or logits, not with policy"),
        ({"first_layer": "3"}, "first_layer goes with logits, not with policy"),
        ({"policy": None, "logits": "true"}, "logits goes with first_layer or mended_by"),
        ({"policy": None, "logits": "true", "first_layer": "3"}, "logits goes with releases or settings"),
        (
            {"policy": None, "logits": "true", "first_layer": "-1"},
            "first_layer: -1 is not allowed; the number of a layer",
        ),
        ({"policy": None, "logits": '"off"'}, "logits: 'off' is not allowed; true or false"),
        ({"model_has": '["wings"]'}, "model_has: 'wings' is not allowed; one of per_layer_input"),
        ({"split": "1"}, "split: 1 is not allowed; true or false"),
        (
            {"reference": '"official"', "settings": "{ runner = 'v1' }"},
            "reference goes with policy, full_policy, releases, member, and",
        ),
        (
            {"reference": '"official"', "unobserved": "true"},
            "reference goes with policy, full_policy, releases, member, and",
        ),
        ({"mended_by": '["range-end-exclusive"]'}, "mended_by: 'range-end-exclusive' is not allowed; one of pr-40534"),
        ({"settings": "3"}, "settings: 3 is not allowed; a table of backend, runner, "),
        ({"settings": "{ runners = 'v2' }"}, "settings: runners: 'v2' is not allowed; a setting is one of backend, "),
        ({"settings": "{ runner = 'v3' }"}, "settings: runner: 'v3' is not allowed; one of auto, v1, v2"),
        (
            {"settings": "{ runner = 'auto' }"},
            "settings: runner: 'auto' is not allowed; what the engine chose is compared",
        ),
        ({"settings": "{ chunk = '16' }"}, "settings: chunk: '16' is not allowed; a whole number, or a list of such"),
        ({"settings": "{ chunk = true }"}, "settings: chunk: True is not allowed; a whole number"),
        ({"settings": "{ dtype = [] }"}, "settings: dtype: [] is not allowed; text, or a list of such"),
        ({"settings": "{ overlay = 'none' }"}, "settings: overlay: 'none' is not allowed; one of pr-40534"),
        (
            {"settings": "{ serving-arg = 'max_num_seq=4' }"},
            "settings: serving-arg: 'max_num_seq' is not allowed; an argument that --serving-arg takes; did you mean max_num_seqs?",
        ),
        (
            {"settings": "{ serving-arg = 'dtype=float16' }"},
            "settings: serving-arg: 'dtype=float16' is not allowed; the harness sets dtype; use --dtype",
        ),
        (
            {"settings": "{ serving-arg = ['max_num_seqs=4', 'max_num_seqs=8'] }"},
            "settings: serving-arg: 'max_num_seqs=8' is not allowed; max_num_seqs is given twice",
        ),
        (
            {"settings": "{ backend = 'TRITON_ATN' }"},
            "settings: backend: 'TRITON_ATN' is not allowed; a back end of vLLM's; did you mean TRITON_ATTN?",
        ),
        ({"settings": "{ backend = 'tritn' }"}, "settings: backend: 'tritn' is not allowed; one of"),
    ],
)
def test_one_line_names_file_field_value_and_what_is_allowed(
    tmp_path: Path, fields: dict[str, str | None], said: str
) -> None:
    path = write(tmp_path / "known.toml", WHOLE, entry(**fields))
    with pytest.raises(UsageError) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: [[known]] 2: {said}") and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("known = 3", "known: 3 is not allowed; a [[known]] for each divergence"),
        ("[known]\npolicy = 'drop'", "known: "),
        ("[[knwon]]", "knwon: "),
        ("[[known]", "TOML with a [[known]] for each divergence in UTF-8: "),
        ("a = " + "[" * 100_000, "TOML"),
        (b"\xff", "TOML"),
        (None, "No such file"),
    ],
)
def test_what_is_no_known_file_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes | None, said: str
) -> None:
    monkeypatch.chdir(tmp_path)  # a long path is cut in messages
    path = Path("known.toml")
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as refused:
        read(path)
    assert said in str(refused.value) and "known.toml" in str(refused.value) and "\n" not in str(refused.value)


def test_what_is_no_ordinary_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UsageError, match="is not allowed; a file of TOML"):
            read(path)
