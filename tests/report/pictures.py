"""The pictures of a layer's masks, read back from their pixels."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from tests.report.page import Page

MARGIN = 10
"""Pixels of the bars beside a picture, at one device pixel a CSS pixel."""
COLOURS = ("none", "earlier", "later", "both", "missing", "extra", "grid", "ink")


class Picture:
    """One mask's canvas, ``tokens`` queries by ``tokens`` keys."""

    def __init__(self, page: Page, canvas: Any, tokens: int) -> None:
        self.page, self.canvas, self.tokens = page, canvas, tokens
        png = base64.b64decode(page.script("return arguments[0].toDataURL()", canvas).partition(",")[2])
        red, green, blue = np.moveaxis(np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int), -1, 0)
        self.pixels = (red << 16 | green << 8 | blue)[MARGIN:, MARGIN:]
        self.cell = len(self.pixels) // tokens
        self.colours = palette(page)

    def has(self, *names: str) -> np.ndarray:
        """Boolean (queries, keys): whether the pair's cell has a pixel of one of these colours."""
        return self._cells(np.isin(self.pixels, [self.colours[name] for name in names])).any(axis=(2, 3))

    def ink(self, query: int, key: int) -> np.ndarray:
        """Boolean (pixels, pixels): the marks in the cell of a pair."""
        return self._cells(self.pixels == self.colours["ink"])[query, key]

    def point(self, query: int, key: int) -> None:
        """Move the pointer to a pair."""
        from selenium.webdriver import ActionChains

        self.page.script("arguments[0].scrollIntoView({ block: 'center' })", self.canvas)
        middle = self.canvas.size["width"] / 2
        at = [round(MARGIN + (position + 0.5) * self.cell - middle) for position in (key, query)]
        ActionChains(self.page.driver, duration=0).move_to_element_with_offset(self.canvas, *at).perform()

    def _cells(self, marked: np.ndarray) -> np.ndarray:
        side = self.tokens * self.cell
        return marked[:side, :side].reshape(self.tokens, self.cell, self.tokens, self.cell).swapaxes(1, 2)


def palette(page: Page) -> dict[str, int]:
    """The colours of masks as they are now, 0xRRGGBB."""
    values = page.script("return arguments[0].map((name) => report.colour(`mask-${name}`))", list(COLOURS))
    return {name: int(value[1:], 16) for name, value in zip(COLOURS, values, strict=True)}


def pictures(page: Page, layer: Any, tokens: int) -> list[Picture]:
    """Reference, serving and difference of an open layer."""
    return [Picture(page, canvas, tokens) for canvas in page.elements("canvas", layer)]
