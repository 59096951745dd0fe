"""A user's message as the OpenAI API has it."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.prompts.prompt import Prompt


def content(prompt: Prompt, picture: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts of a message: pictures, as ``picture`` makes a part of a file, videos and audio, then the text."""
    return [
        *map(picture, prompt.images),
        *({"type": "video_url", "video_url": {"url": data_url(path)}} for path in prompt.videos),
        *({"type": "audio_url", "audio_url": {"url": data_url(path)}} for path in prompt.clips),
        {"type": "text", "text": prompt.text},
    ]


def data_url(path: str) -> str:
    """A file as an address that has all of it in it."""
    kind, _ = mimetypes.guess_type(path)
    return f"data:{kind};base64,{base64.b64encode(Path(path).read_bytes()).decode()}"
