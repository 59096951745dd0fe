"""Pictures from files: looked at before an engine starts."""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path

from PIL import Image

from harness.errors import UsageError

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Those of vLLM's allowlist (`vllm/multimodal/image.py`) that pictures come in: each is decoded in this process, and none starts
another program, as EPS does."""
LARGEST = 256 << 20
"""Bytes of the largest file that is read."""
PIXELS = 64_000_000
"""Of the largest picture: three bytes each on either side, and Pillow warns of a decompression bomb from 89 million on."""


def size_of(name: str | Path) -> tuple[int, int]:
    """(width, height) of the picture in the file of this ``name``, which is decoded whole.

    Raises:
        UsageError: it is no file, no picture that can be decoded, or too large.
    """
    path = Path(name)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UsageError("image", name, "a file with a picture; this is none")
        if found.st_size > LARGEST:
            raise UsageError("image", name, f"a file of at most {LARGEST >> 20} MiB; this has {found.st_size >> 20}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as picture:
                check_size("image", name, picture.size)
                picture.convert("RGB")
                return picture.size
    except UsageError:
        raise
    except Image.DecompressionBombError:
        raise UsageError("image", name, f"a picture of at most {PIXELS // 10**6} million pixels") from None
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else "it is damaged or of another format"
        raise UsageError(
            "image", name, f"a file with a picture that can be read ({', '.join(FORMATS)}); {why}"
        ) from None
    except (ValueError, SyntaxError, EOFError, MemoryError, RuntimeError):
        raise UsageError(
            "image", name, f"a file with a picture that can be read ({', '.join(FORMATS)}); it is damaged"
        ) from None


def check_size(field: str, name: str | Path, size: tuple[int, int]) -> None:
    """Raise UsageError for a picture of no pixel, or of more than `PIXELS`."""
    width, height = size
    if not 1 <= width * height <= PIXELS:
        raise UsageError(field, name, f"1 to {PIXELS // 10**6} million pixels; {width} x {height} are {width * height}")
