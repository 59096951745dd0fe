"""Texts and messages with pictures, videos and audio of several sizes go through both sides' own templates and processors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families import checkpoint
from harness.families.registry import preset
from harness.prompts.case import Case
from harness.verification.session import Session
from harness.verification.verify import verify
from tests.families.recorded import TEMPLATE, clip, film, picture

pytestmark = pytest.mark.engine

V1 = Setting.of(runner="v1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def verified(session: Session, folder: Path) -> Callable[..., CaseResult]:
    """The result of a text with files, by their options, of a checkpoint that takes all of them and has a chat template."""
    there = folder / "checkpoint"
    shutil.copytree(session.checkpoint(preset("tiny-audio")), there)
    (there / "chat_template.jinja").write_text(TEMPLATE)
    spec = checkpoint.model(str(there))

    def verified(text: str, **files: object) -> CaseResult:
        result = verify(session, Case("processed", "", text=text, **files), V1, spec=spec)
        assert f"--model {there}" in result.reproduce and ("--chat" in result.reproduce) == ("chat" in files)
        return result

    return verified


def test_a_message_with_pictures_of_two_sizes(verified: Callable, folder: Path) -> None:
    images = (picture(folder / "wide.png", (48, 16)), picture(folder / "high.png", (70, 90)))
    found = verified("w40 w41", images=images, chat=True)
    assert (found.verdict, found.layout) == (Verdict.PASS, "t2 i56 i63 t2"), found.diagnosis


@pytest.mark.parametrize(("seconds", "layout"), [([0.25], "t1 a6 t1"), ([0.05, 1.0], "t1 a1 a25 t1")])
def test_audio_of_several_lengths(verified: Callable, folder: Path, seconds: list[float], layout: str) -> None:
    clips = tuple(clip(folder / f"{length}.wav", length) for length in seconds)
    found = verified(f"w40 {'<|audio|> ' * len(clips)} w41", clips=clips)
    assert (found.verdict, found.layout) == (Verdict.PASS, layout), found.diagnosis


def test_a_message_with_audio(verified: Callable, folder: Path) -> None:
    found = verified("w40", clips=(clip(folder / "said.wav", 0.25),), chat=True)
    assert (found.verdict, found.layout) == (Verdict.PASS, "t2 a6 t1"), found.diagnosis


@pytest.mark.slow
def test_a_video_and_a_picture(verified: Callable, folder: Path) -> None:
    files = {"videos": (film(folder / "film.avi", 5, 2.0),), "images": (picture(folder / "other.png", (48, 16)),)}
    found = verified("w40", chat=True, **files)
    assert (found.verdict, found.layout) == (Verdict.PASS, "t2 i56 v5x60 t1"), found.diagnosis
    assert "both processors took of video 1 5 frames, at 0, 0.5, 1, 1.5, 2 s" in found.diagnosis


@pytest.mark.slow
def test_frames_that_one_processor_takes_otherwise_are_a_verdict_of_their_own(
    verified: Callable, session: Session, folder: Path
) -> None:
    there = folder / "fewer"
    shutil.copytree(folder / "checkpoint", there)
    config = json.loads((there / "processor_config.json").read_text())
    config["video_processor"]["num_frames"] = 4
    (there / "processor_config.json").write_text(json.dumps(config))
    case = Case("fewer", "", text="w40 <|video|>", videos=(film(folder / "same.avi", 5, 2.0),))
    found = verify(session, case, V1, spec=checkpoint.model(str(there)))
    assert found.verdict is Verdict.DIVERGED and not found.layers
    assert found.diagnosis.startswith("the two processors made different tokens of the prompt: ")
    assert "in the reference and " in found.diagnosis and "Nothing after it was compared" in found.diagnosis
    assert "took other frames of video 1: 4 frames, at 0, 0.5, 1, 1.5 s in the reference, 5 frames" in found.diagnosis
