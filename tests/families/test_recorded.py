"""Audio and videos from files are looked at before an engine starts, and both sides are given the same."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from harness.errors import UsageError
from harness.families import sounds, videos
from harness.families.registry import family_of, preset
from tests.families.recorded import RATE, clip, film

AUDIO, TINY = preset("tiny-audio"), preset("tiny")


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_a_sample_of_any_width_is_the_same_number(tmp_path: Path, width: int) -> None:
    levels = {1: [0, 128, 192], 2: [-(1 << 15), 0, 1 << 14], 3: [-(1 << 23), 0, 1 << 22], 4: [-(1 << 31), 0, 1 << 30]}
    with wave.open(str(tmp_path / "file.wav"), "wb") as file:
        file.setparams((1, width, RATE, 3, "NONE", ""))
        file.writeframes(b"".join(level.to_bytes(width, "little", signed=width > 1) for level in levels[width]))
    assert sounds.samples_of(tmp_path / "file.wav", RATE).tolist() == [-1, 0, 0.5]


def test_channels_are_one_and_what_is_kept_is_what_was_read(tmp_path: Path) -> None:
    name = clip(tmp_path / "two.wav", 0.1, channels=2)
    own = sounds.samples_of(name, RATE)
    kept, rate = sounds.read(sounds.kept(name, RATE, tmp_path / "kept"))
    assert own.shape == (1600,) and rate == RATE
    assert np.abs(kept - own).max() <= 0.5 / (1 << 15)
    again = sounds.kept(sounds.kept(name, RATE, tmp_path / "kept"), RATE, tmp_path / "kept")
    assert np.array_equal(sounds.read(again)[0], kept)


def test_bad_audio_is_named_with_why(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("RIFF")
    whole = Path(clip(tmp_path / "whole.wav", 0.1)).read_bytes()
    (tmp_path / "empty.wav").write_bytes(whole[:20])
    for name, why in (("text.wav", "damaged"), ("empty.wav", "WAV"), ("none.wav", "No such file")):
        with pytest.raises(UsageError, match=why):
            sounds.samples_of(tmp_path / name, RATE)
    with pytest.raises(UsageError, match="24000 samples a second, not 16000"):
        sounds.samples_of(tmp_path / "whole.wav", 24_000)


@pytest.mark.parametrize(("samples", "soft"), [(161, 1), (800, 1), (4000, 6), (16_000, 25)])
def test_the_soft_tokens_of_a_clip(samples: int, soft: int) -> None:
    """As the processors made them (tests/engines/vllm/test_with_files.py)."""
    assert family_of(AUDIO).clip_tokens("clip", samples, AUDIO) == soft


def test_a_clip_of_nothing_is_refused_and_so_is_audio_for_a_family_without() -> None:
    with pytest.raises(UsageError, match="at least 161 samples"):
        family_of(AUDIO).clip_tokens("clip", 160, AUDIO)
    with pytest.raises(UsageError, match="Gemma 3 takes none"):
        family_of(preset("gemma3-tiny")).rate(preset("gemma3-tiny"))


def test_a_video_is_looked_at_and_copied(tmp_path: Path) -> None:
    name = film(tmp_path / "film.avi", 5, 2.0, (48, 32))
    assert videos.looked_at(name) == videos.Video(5, (48, 32))
    kept = videos.kept(name, tmp_path / "kept")
    assert kept.suffix == ".avi" and kept.read_bytes() == Path(name).read_bytes()
    assert family_of(TINY).video_tokens(name, 5, (48, 32), TINY) == 5 * (60 + 3)
    for damaged, what in (("cut.avi", b"RIFF"), ("text.mp4", b"no video")):
        (tmp_path / damaged).write_bytes(what)
        with pytest.raises(UsageError, match="OpenCV can read; it is damaged or of another format"):
            videos.looked_at(tmp_path / damaged)
