"""Small files of pictures, videos and audio, and a chat template that has places for all of them."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from PIL import Image

RATE = 16_000
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %} w30 {% for part in message['content'] %}{% if part['type'] == 'text' %}"
    "{{ part['text'] }}{% else %} <|{{ part['type'] }}|> {% endif %}{% endfor %}{% endfor %}"
)


def picture(path: Path, size: tuple[int, int]) -> str:
    """The name of a drawn picture of this (width, height)."""
    drawn = np.random.default_rng([*size, 0]).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(drawn).save(path)
    return str(path)


def clip(path: Path, seconds: float, *, rate: int = RATE, channels: int = 1, width: int = 2) -> str:
    """The name of a drawn WAV file."""
    count = round(seconds * rate)
    drawn = np.random.default_rng([count, 1]).integers(0, 256, (count, channels, width), dtype=np.uint8)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(drawn.tobytes())
    return str(path)


def film(path: Path, frames: int, rate: float, size: tuple[int, int] = (48, 32)) -> str:
    """The name of a drawn video with so many ``frames``, ``rate`` a second."""
    import cv2

    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, size)
    random = np.random.default_rng([frames, 2])
    for _ in range(frames):
        video.write(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    video.release()
    return str(path)
