"""Messages with files of every kind are observed in a server, through its own template and processors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.vllm.attach.commands import attach
from tests.engines.vllm.attach.served import How, Served
from tests.families.recorded import clip, film, picture

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PRESET = "tiny-audio"
HOW = How()


def test_a_video_and_a_picture(server: Served, tmp_path: Path) -> None:
    files = ["--video", film(tmp_path / "film.avi", 5, 2.0), "--image", picture(tmp_path / "wide.png", (48, 16))]
    code, found = attach(server, *files, "--text", "w40")
    assert (code, found["verdict"], found["layout"]) == (0, "PASS", "t2 i56 v5x60 t1"), found["diagnosis"]
    assert "both processors took of video 1 5 frames, at 0, 0.5, 1, 1.5, 2 s" in found["diagnosis"]


@pytest.mark.parametrize(("seconds", "layout"), [([0.25], "t2 a6 t1"), ([0.05, 1.0], "t2 a1 a25 t1")])
def test_audio_of_several_lengths(server: Served, tmp_path: Path, seconds: list[float], layout: str) -> None:
    clips = [word for each in seconds for word in ("--audio", clip(tmp_path / f"{each}.wav", each))]
    code, found = attach(server, *clips, "--text", "w40")
    assert (code, found["verdict"], found["layout"]) == (0, "PASS", layout), found["diagnosis"]
