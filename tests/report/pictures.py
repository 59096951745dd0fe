"""The pictures of a layer's masks, read back from their pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.report.page import Page

MARGIN = 10
"""Pixels of the bars beside a picture, at one device pixel a CSS pixel."""
COLOURS = ("none", "earlier", "later", "both", "missing", "extra", "grid", "ink")


class Picture:
    """One mask's canvas, ``tokens`` queries by ``tokens`` keys."""

    def __init__(self, page: Page, canvas: Any, tokens: int) -> None:
        self.page, self.canvas, self.tokens = page, canvas, tokens
        read = """const [canvas] = arguments;
          const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
          return [canvas.width, [...new Uint32Array(data.buffer)]];"""
        width, pixels = page.script(read, canvas)
        self.cell = (width - MARGIN) // tokens
        self.pixels = np.array(pixels, dtype=np.uint32).reshape(width, width)[MARGIN:, MARGIN:] & 0xFFFFFF

    def has(self, *names: str) -> np.ndarray:
        """Boolean (queries, keys): whether the pair's cell has a pixel of one of these colours."""
        return self._cells(np.isin(self.pixels, [palette(self.page)[name] for name in names])).any(axis=(2, 3))

    def ink(self, query: int, key: int) -> np.ndarray:
        """Boolean (pixels, pixels): the marks in the cell of a pair."""
        return self._cells(self.pixels == palette(self.page)["ink"])[query, key]

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
    """The colours of masks as they are now, as blue, green, red in one number."""
    values = page.script("return arguments[0].map((name) => report.colour(`mask-${name}`))", list(COLOURS))
    return {
        name: int.from_bytes(bytes.fromhex(value[1:]), "little") for name, value in zip(COLOURS, values, strict=True)
    }


def pictures(page: Page, layer: Any, tokens: int) -> list[Picture]:
    """Reference, serving and difference of an open layer."""
    return [Picture(page, canvas, tokens) for canvas in page.elements("canvas", layer)]
