"""Pictures are decoded once: turned, on white, in RGB, the first frame; and no other program is started for it."""

from __future__ import annotations

import ast
import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.errors import UsageError
from harness.families import decoded
from harness.families.pictures import FORMATS

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)
CORNERS = {
    1: (RED, GREEN, BLUE, GREY), 2: (GREEN, RED, GREY, BLUE), 3: (GREY, BLUE, GREEN, RED), 4: (BLUE, GREY, RED, GREEN),
    5: (RED, BLUE, GREEN, GREY), 6: (BLUE, RED, GREY, GREEN), 7: (GREY, GREEN, BLUE, RED), 8: (GREEN, GREY, RED, BLUE),
}  # fmt: skip
"""The corners of a picture that is stored as red, green / blue, grey, as each orientation shows it: top left, top right, bottom
left, bottom right (EXIF 2.32, tag 0x0112)."""


def stored() -> Image.Image:
    """48 x 16 with a colour in each quarter."""
    pixels = np.zeros((16, 48, 3), dtype=np.uint8)
    for place, colour in enumerate(CORNERS[1]):
        pixels[8 * (place // 2) :][:8, 24 * (place % 2) :][:, :24] = colour
    return Image.fromarray(pixels)


def corners(picture: Image.Image) -> list[np.ndarray]:
    right, bottom = picture.width - 4, picture.height - 4
    return [np.array(picture.getpixel(place)) for place in ((3, 3), (right, 3), (3, bottom), (right, bottom))]


@pytest.mark.parametrize("form", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_as_its_exif_orientation_says(tmp_path: Path, form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored().save(tmp_path / f"phone.{form}", exif=exif, **({"quality": 95, "subsampling": 0} if form == "jpg" else {}))
    seen = decoded.picture(tmp_path / f"phone.{form}")
    assert seen.size == ((48, 16) if orientation < 5 else (16, 48))
    for colour, wanted in zip(corners(seen), CORNERS[orientation], strict=True):
        assert np.abs(colour.astype(int) - wanted).max() < 40
    again = Image.open(decoded.kept(tmp_path / f"phone.{form}", tmp_path / "kept"))
    assert again.tobytes() == seen.tobytes() and not again.getexif() and not again.info


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    rgba = Image.new("RGBA", (4, 4), (10, 20, 30, 255))
    rgba.putpixel((0, 0), (10, 20, 30, 0))
    rgba.putpixel((1, 0), (0, 0, 0, 128))
    rgba.save(tmp_path / "alpha.png")
    seen = decoded.picture(tmp_path / "alpha.png")
    assert [seen.getpixel((x, 0)) for x in range(3)] == [(255, 255, 255), (127, 127, 127), (10, 20, 30)]


def modes() -> dict[str, tuple[Image.Image, dict, tuple[int, int, int]]]:
    """Pictures of each mode, how they are saved, and what their first pixel is."""
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    deep = Image.fromarray(np.full((4, 4), 0x8123, dtype=np.uint16))
    frames = [Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), BLUE)]
    return {
        "palette.png": (palette, {}, (200, 100, 50)),
        "clear-palette.png": (palette, {"transparency": 1}, (255, 255, 255)),
        "la.png": (Image.new("LA", (4, 4), (100, 0)), {}, (255, 255, 255)),
        "grey.png": (Image.new("L", (4, 4), 100), {}, (100, 100, 100)),
        "one-bit.png": (Image.new("1", (4, 4), 1), {}, (255, 255, 255)),
        "cmyk.tiff": (Image.new("CMYK", (4, 4), (0, 255, 255, 0)), {}, (255, 0, 0)),
        "deep.png": (deep, {}, (0x81, 0x81, 0x81)),
        "deep.tiff": (deep, {}, (0x81, 0x81, 0x81)),
        "animated.gif": (frames[0], {"save_all": True, "append_images": frames[1:]}, RED),
        "animated.webp": (frames[0], {"save_all": True, "append_images": frames[1:], "lossless": True}, RED),
        "animated.png": (frames[0], {"save_all": True, "append_images": frames[1:]}, RED),
    }


@pytest.mark.parametrize("name", modes())
def test_every_mode_becomes_rgb(tmp_path: Path, name: str) -> None:
    picture, how, pixel = modes()[name]
    picture.save(tmp_path / name, **how)
    seen = decoded.picture(tmp_path / name)
    assert (seen.mode, seen.size, seen.getpixel((0, 0))) == ("RGB", (4, 4), pixel)


def test_the_serving_side_takes_every_format() -> None:
    """It is read from the installed release, which is not imported."""
    if not (found := importlib.util.find_spec("vllm")):
        pytest.skip("vllm is not installed for this interpreter")
    source = (Path(found.origin).parent / "multimodal" / "image.py").read_text()
    named = {node.target.id: node.value for node in ast.parse(source).body if isinstance(node, ast.AnnAssign)}
    assert set(FORMATS) <= set(ast.literal_eval(named["ALLOWED_IMAGE_FORMATS"]))


def test_nothing_is_started_for_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow gives PostScript to whatever is called gs."""
    called = tmp_path / "called"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {called}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    stored().save(tmp_path / "cat.eps")
    (tmp_path / "cat.eps").rename(tmp_path / "cat.png")
    with pytest.raises(UsageError, match=r"^image: "):
        decoded.picture(tmp_path / "cat.png")
    assert not called.exists()


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", None])
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "cat.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"^image: "):
        decoded.picture(path)


def test_a_picture_that_is_cut_off_is_named(tmp_path: Path) -> None:
    stored().save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:70])
    with pytest.raises(UsageError, match=r"^image: "):
        decoded.picture(tmp_path / "cut.png")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UsageError, match=r"^image: "):
        decoded.picture(tmp_path / "pipe.png")
