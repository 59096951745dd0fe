"""Pictures of users, decoded once for both sides: what one side would turn, blend or convert otherwise than the other is done
before either has it, as vLLM's own loader does it (`vllm/multimodal/image.py`)."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

from PIL import Image, ImageOps

WHITE = (255, 255, 255)
DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")


def picture(path: Path | str) -> Image.Image:
    """The first frame of a picture in RGB, turned as its EXIF orientation says, on white where it is transparent; 16 bits are
    reduced to the 8 that they begin with.

    Raises:
        UsageError: as `harness.families.pictures.size_of`.
    """
    from harness.families.pictures import FORMATS, size_of

    size_of(Path(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path, formats=FORMATS) as opened:
            opened.load()
            found = _rgb(_turned(opened))
    return Image.frombytes("RGB", found.size, found.tobytes())


def kept(path: Path | str, folder: Path) -> Path:
    """A picture as a PNG in ``folder`` that says nothing of turning, transparency or colour spaces.

    Raises:
        UsageError: as `picture`.
    """
    found = picture(path)
    digest = hashlib.sha256(repr(found.size).encode() + found.tobytes()).hexdigest()[:16]
    target = folder / f"picture-{digest}.png"
    folder.mkdir(parents=True, exist_ok=True)
    found.save(target)
    return target


def read(path: str) -> Image.Image:
    """A picture that was `kept`."""
    with Image.open(path, formats=["PNG"]) as opened:
        opened.load()
        return opened


def _turned(picture: Image.Image) -> Image.Image:
    """As its EXIF orientation says, if that can be read."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # noqa: BLE001 - as vLLM: EXIF of whatever form makes no picture bad
        return picture


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in DEEP:
        picture = _eight_bits(picture)
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGB", picture.size, WHITE)
        ground.paste(picture, mask=picture.getchannel("A"))
        return ground
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Pillow's own conversion makes everything above 255 white."""
    import numpy as np

    values = np.asarray(picture)
    if values.dtype.kind == "f":
        return Image.fromarray(values.clip(0, 255).astype(np.uint8))
    return Image.fromarray(
        (values.clip(0, 65535) >> 8 if values.max(initial=0) > 255 else values.clip(0)).astype(np.uint8)
    )
