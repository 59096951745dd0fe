"""Videos from files: looked at before an engine starts."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import EnvironmentFailure, UsageError
from harness.families.pictures import check_size

LARGEST = 256 << 20
"""Bytes of the largest file that is read."""
ALLOWED = "a file with a video that OpenCV can read"
QUIET = {"OPENCV_FFMPEG_LOGLEVEL": "-8", "OPENCV_LOG_LEVEL": "SILENT"}
"""What keeps OpenCV and its FFmpeg from saying more of a damaged file than we do."""


@dataclass(frozen=True)
class Video:
    """How many ``frames`` a video has, and the ``size`` (width, height) of each."""

    frames: int
    size: tuple[int, int]


def looked_at(name: str | Path) -> Video:
    """The video in the file of this ``name``, of which the first frame is decoded.

    Raises:
        UsageError: it is no file, no video that can be decoded, or too large.
        EnvironmentFailure: this interpreter has no OpenCV, which vLLM brings.
    """
    path = Path(name)
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise UsageError("video", name, f"{ALLOWED}; {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(found.st_mode):
        raise UsageError("video", name, f"{ALLOWED}; this is no file")
    if found.st_size > LARGEST:
        raise UsageError("video", name, f"a file of at most {LARGEST >> 20} MiB; this has {found.st_size >> 20}")
    cv2 = _opencv()
    video = cv2.VideoCapture(str(path.absolute()))
    try:
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
        frame = video.read()[1] if count > 0 else None
    finally:
        video.release()
    if frame is None:
        raise UsageError("video", name, f"{ALLOWED}; it is damaged or of another format")
    height, width, _ = frame.shape
    check_size("video", name, (width, height))
    return Video(count, (width, height))


def kept(name: str | Path, folder: Path) -> Path:
    """A copy of a video in ``folder``, called by its content.

    Raises:
        UsageError: as `looked_at`.
    """
    looked_at(name)
    path = Path(name)
    suffix = path.suffix if (mimetypes.guess_type(path.name)[0] or "").startswith("video/") else ".mp4"
    target = folder / f"video-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}{suffix}"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    return target


def _opencv() -> Any:
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    try:
        import cv2
    except ImportError:
        why = "opencv-python-headless is not installed for this interpreter; vLLM brings it"
        raise EnvironmentFailure(f"a video cannot be read: {why}") from None
    return cv2
