"""Audio from files: looked at before an engine starts, and written as both sides read it."""

from __future__ import annotations

import hashlib
import os
import stat
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.errors import UsageError

LARGEST = 64 << 20
"""Bytes of the largest file that is read: half an hour of 16 bits at 16 kHz."""
FULL = {1: 1 << 7, 2: 1 << 15, 3: 1 << 23, 4: 1 << 31}
"""By the bytes of a sample the number that stands for 1."""
ALLOWED = "a WAV file of PCM samples that can be read"


@dataclass(frozen=True)
class Sound:
    """What a WAV file has: its ``data``, of ``channels`` with samples of ``width`` bytes, so many a second."""

    data: bytes
    channels: int
    width: int
    rate: int


def looked_at(name: str | Path) -> Sound:
    """The WAV file of this name.

    Raises:
        UsageError: it is no such file.
    """
    path = Path(name)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UsageError("audio", name, f"{ALLOWED}; this is no file")
        if found.st_size > LARGEST:
            raise UsageError("audio", name, f"a file of at most {LARGEST >> 20} MiB; this has {found.st_size >> 20}")
        with wave.open(str(path), "rb") as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            sound = Sound(file.readframes(file.getnframes()), *form)
    except UsageError:
        raise
    except OSError as error:
        raise UsageError("audio", name, f"{ALLOWED}; {os.strerror(error.errno) if error.errno else error}") from None
    except (wave.Error, EOFError, ValueError) as error:
        raise UsageError("audio", name, f"{ALLOWED}; {str(error) or 'it is damaged'}") from None
    size = sound.channels * sound.width
    if sound.width not in FULL or not size or len(sound.data) % size:
        raise UsageError("audio", name, f"{ALLOWED}; it is damaged")
    return sound


def samples_of(name: str | Path, rate: int) -> np.ndarray:
    """The samples of a WAV file at the ``rate`` of the model's processor, float32 (samples,) from -1 to 1, the mean of channels.

    Raises:
        UsageError: it is no such file, or has another rate.
    """
    sound = looked_at(name)
    if sound.rate != rate:
        why = "the two sides would make that of it in two ways, before their processors have it"
        raise UsageError("audio", name, f"{rate} samples a second, not {sound.rate}: {why}")
    return _mono(sound.data, sound.channels, sound.width)


def kept(name: str | Path, rate: int, folder: Path) -> Path:
    """An audio file as a WAV in ``folder`` of one channel and 16 bits, which any reader makes the same numbers of.

    Raises:
        UsageError: as `samples_of`.
    """
    whole = FULL[2]
    data = np.clip(np.rint(samples_of(name, rate) * whole), -whole, whole - 1).astype("<i2").tobytes()
    target = folder / f"audio-{hashlib.sha256(data).hexdigest()[:16]}.wav"
    folder.mkdir(parents=True, exist_ok=True)
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(data)
    return target


def read(path: str | Path) -> tuple[np.ndarray, int]:
    """The samples of a file that was `kept`, and its rate."""
    with wave.open(str(path), "rb") as file:
        return _mono(file.readframes(file.getnframes()), 1, 2), file.getframerate()


def _mono(data: bytes, channels: int, width: int) -> np.ndarray:
    """Samples of one byte have no sign; those of three are no type of NumPy's."""
    if width == 1:
        values = np.frombuffer(data, dtype=np.uint8).astype(np.float64) - FULL[1]
    elif width == 3:
        low = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3).astype(np.int64)
        whole = low[:, 0] | low[:, 1] << 8 | low[:, 2] << 16
        values = np.where(whole >= FULL[3], whole - 2 * FULL[3], whole).astype(np.float64)
    else:
        values = np.frombuffer(data, dtype=f"<i{width}").astype(np.float64)
    return (values / FULL[width]).reshape(-1, channels).mean(axis=1).astype(np.float32)
