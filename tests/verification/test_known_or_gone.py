"""A known file makes a job green while what it declares is there, and red when that is gone or is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.prompts.case import Case
from harness.verification.catalogue import declared
from harness.verification.session import Session
from harness.verification.verify import verify

pytestmark = pytest.mark.engine

V2 = Setting.of(runner="v2")
MENDED = V2.with_(overlays=("pr-50539",))
LONG = Case("long", "an image longer than the window", "t3 i9 t4")
SHORT = Case("short", "an image within the window", "t3 i5 t4")
LINK = "https://github.com/vllm-project/vllm/pull/50539"
SEEN = 'policy = "drop"\nsettings = { runner = "v2" }'


ADAPTED = Setting.of(runner="v1", adapter="mates", mates=("t1",))
WORD = Case("word", "a request without an adapter beside one that has it", "t1")
OFF = 'logits = true\nmended_by = ["pr-48421"]\nsettings = { adapter = "mates" }'
LAYER = 'logits = true\nfirst_layer = {}\nsettings = {{ adapter = "mates" }}'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seen", "overlays", "expected", "said"),
    [
        (OFF, (), Verdict.KNOWN, "with `pr-48421` laid over they are within the noise floor"),
        (OFF, ("pr-48421",), Verdict.PASS, "within the noise floor"),
        (OFF.replace("pr-48421", "flex-image-blocks"), (), Verdict.DIVERGED, "could not be laid over"),
        (OFF.replace("pr-48421", "pr-50539"), (), Verdict.DIVERGED, "with `pr-50539` laid over it is DIVERGED"),
        (OFF, ("adapter-of-the-first-row",), Verdict.DIVERGED, "with `pr-48421` laid over it is DIVERGED"),
        (LAYER.format(0), (), Verdict.KNOWN, "declared: seen"),
        (LAYER.format(1), (), Verdict.DIVERGED, "not the declared divergence from layer 1 on"),
        (LAYER.format(0), ("pr-48421",), Verdict.FIXED, "the declared divergence of the logits is gone"),
    ],
)
def test_logits_that_are_off_with_equal_masks(
    session: Session, tmp_path: Path, seen: str, overlays: tuple[str, ...], expected: Verdict, said: str
) -> None:
    """docs/findings/vllm-cpu-adapter-of-others.md"""
    path = tmp_path / "known.toml"
    path.write_text(f'[[known]]\nlink = "{LINK}"\nreason = "seen"\n{seen}\n')
    result = verify(session, WORD, ADAPTED.with_(overlays=overlays), declared([str(path)]))
    assert result.verdict is expected and said in result.diagnosis, result.diagnosis


@pytest.mark.parametrize(
    ("seen", "case", "setting", "expected"),
    [
        (SEEN, LONG, V2, Verdict.KNOWN),
        (SEEN, SHORT, V2, Verdict.PASS),
        (SEEN, LONG, MENDED, Verdict.FIXED),
        ('policy = "drop"\nmended_by = ["pr-50539"]', LONG, MENDED, Verdict.PASS),
        ('policy = "unclamped"', LONG, V2, Verdict.DIVERGED),
        ('policy = "drop"\nsettings = { runner = "v1" }', LONG, V2, Verdict.DIVERGED),
        ('policy = "drop"\nreleases = "<0.25"', LONG, V2, Verdict.DIVERGED),
        ('failure = "died (signal SIGSEGV)"', SHORT, V2, Verdict.FIXED),
        ('failure = "died (signal SIGSEGV)"\nsometimes = true', SHORT, V2, Verdict.PASS),
        ('failure = "died (signal SIGSEGV)"', LONG, V2, Verdict.DIVERGED),
    ],
)
def test_a_known_file(
    session: Session, tmp_path: Path, seen: str, case: Case, setting: Setting, expected: Verdict
) -> None:
    path = tmp_path / "known.toml"
    path.write_text(f'[[known]]\nlink = "{LINK}"\nreason = "seen"\n{seen}\n')
    result = verify(session, case, setting, declared([str(path)]))
    assert result.verdict is expected, result.diagnosis
    assert result.reproduce.endswith(f"--known {path}")
    if expected is Verdict.FIXED:
        assert f"is gone; remove its declaration from {path} ({LINK})" in result.diagnosis
