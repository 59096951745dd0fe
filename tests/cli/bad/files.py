"""The files that the lines of lines.jsonl call @FX@: pictures of every kind, broken and too large ones, and what is none."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.families.recorded import clip


def make(folder: Path) -> Path:
    """Write them all into ``folder``, which is made."""
    folder.mkdir(parents=True)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8))
    _good(folder, picture)
    _broken(folder)
    _large(folder)
    _none(folder)
    clip(folder / "ok.wav", 0.5)
    clip(folder / "slow.wav", 0.5, rate=8000)
    clip(folder / "short.wav", 0.005)
    return folder


def _good(folder: Path, picture: Image.Image) -> None:
    for name in (
        "ok.png",
        "ok.jpg",
        "ok.webp",
        "ok.gif",
        "we ird'\"<b>.png",
        "new\nline.png",
        "\x1b[31mansi.png",
        "=cmd.png",
    ):
        picture.save(folder / name)
    for name, mode in (
        ("cmyk.jpg", "CMYK"),
        ("cmyk.tif", "CMYK"),
        ("pal.png", "P"),
        ("one.png", "1"),
        ("la.png", "LA"),
        ("rgba.png", "RGBA"),
    ):
        picture.convert(mode).save(folder / name)
    Image.fromarray(np.full((32, 32), 30000, np.uint16)).save(folder / "g16.png")
    Image.fromarray(np.random.default_rng(1).random((32, 32), dtype=np.float32)).save(folder / "f32.tif")
    picture.save(folder / "anim.gif", save_all=True, append_images=[picture.rotate(90, expand=True)], duration=100)
    turned = Image.Exif()
    turned[0x0112] = 6
    for name in ("exif6.jpg", "exif6.png", "exif6.webp"):
        picture.save(folder / name, exif=turned)


def _broken(folder: Path) -> None:
    for name in ("ok.png", "ok.jpg", "ok.webp"):
        whole = (folder / name).read_bytes()
        (folder / f"trunc_{name}").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray((folder / "ok.png").read_bytes())
    damaged[60] ^= 0xFF
    (folder / "crc.png").write_bytes(damaged)
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("hello")
    (folder / "bin.png").write_bytes(np.random.default_rng(2).bytes(5000))


def _large(folder: Path) -> None:
    (folder / "huge_claim.png").write_bytes(_png(100_000, 100_000))
    (folder / "zero.png").write_bytes(_png(0, 0))
    (folder / "noidat.png").write_bytes(_png(16, 16))
    (folder / "bomb144mp.png").write_bytes(_png(12_000, 12_000, bits=1, colour=0, rows=bytes(12_000 * 1501)))
    for name, size in (("p1.png", (1, 1)), ("tall.png", (1, 3000)), ("wide.png", (3000, 1))):
        Image.new("RGB", size).save(folder / name)


def _none(folder: Path) -> None:
    (folder / "svg.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (folder / "eps.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(never) run\n")
    Image.new("RGB", (8, 8)).save(folder / "t.pdf")
    for name in ("dir", "dir.png"):
        (folder / name).mkdir()
    os.symlink("loopb", folder / "loopa")
    os.symlink("loopa", folder / "loopb")
    os.mkfifo(folder / "fifo")


def _png(width: int, height: int, *, bits: int = 8, colour: int = 2, rows: bytes = b"") -> bytes:
    """A PNG that claims this size, whatever its ``rows`` are."""
    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return file.getvalue()
