"""The pictures of masks show the masks, and name the pair that is pointed at."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.compare.result import CaseResult, decode_mask
from tests.report.page import Page
from tests.report.pictures import Picture, pictures
from tests.report.results import one_of_each, result

pytestmark = pytest.mark.browser

BY_NAME = {entry.case: replace(entry, logits=None) for entry in one_of_each()}
BOTH_WAYS = replace(
    result(case="both-ways", layout="t9 i10 t12", reference="unclamped", policy="full-causal"), logits=None
)
"""Serving lacks the later tokens of the image and sees text beyond the window."""
WORDS = {
    (0, 0): "neither attends",
    (1, 1): "both attend",
    (1, 0): "reference attends, serving does not",
    (0, 1): "serving attends, reference does not",
}


@pytest.fixture
def page(opened: Callable) -> Page:
    """Every made-up result without its plot."""
    return opened(list(BY_NAME.values()))


def masks(entry: CaseResult, layer: int = 0) -> list[np.ndarray]:
    return [decode_mask(entry.layers[layer].masks[side], len(entry.tokens)) for side in ("reference", "serving")]


def told(entry: CaseResult, query: int, key: int) -> str:
    relation = WORDS[tuple(int(mask[query, key]) for mask in masks(entry))]
    return f"query {query} = {entry.tokens[query]['name']} · key {key} = {entry.tokens[key]['name']} · {relation}"


def first_layer(page: Page, entry: CaseResult) -> tuple[Any, list[Picture]]:
    layer = page.element("details.layer[open]", page.open(entry.case))
    return layer, pictures(page, layer, len(entry.tokens))


def readout(page: Page, layer: Any) -> str:
    return page.element(".readout", layer).text


@pytest.mark.parametrize("name", ["two-images", "image-far-longer", "image-first"])
def test_each_mask_has_its_picture_and_layers_with_the_same_masks_share_it(page: Page, name: str) -> None:
    entry = BY_NAME[name]
    case = page.open(name)
    page.script("$$('details.layer', arguments[0]).forEach((layer) => { layer.open = true; })", case)
    page.wait(lambda: page.drawn(case))
    layers = page.elements("details.layer", case)
    different = {(layer.type, layer.masks["reference"], layer.masks["serving"]) for layer in entry.layers}
    assert len(layers) == len(different) == 2
    for layer in layers:
        titles = [caption.text for caption in page.elements("figcaption", layer)]
        assert titles == ["Reference", "Serving", "Difference"]
        assert all(canvas.size["width"] > 100 for canvas in page.elements("canvas", layer))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("entry", [BY_NAME["image-first"], BY_NAME["video-and-image"], BOTH_WAYS], ids=lambda e: e.case)
def test_the_pixels_are_the_masks(opened: Callable, entry: CaseResult, theme: str) -> None:
    page = opened([entry])
    page.theme(theme)
    _, shown = first_layer(page, entry)
    reference, serving = masks(entry)
    later = np.triu(np.ones_like(reference), 1)
    for picture, mask in zip(shown, (reference, serving), strict=False):
        assert np.array_equal(picture.has("earlier"), mask & ~later)
        assert np.array_equal(picture.has("later"), mask & later)
        assert np.array_equal(picture.has("none"), ~mask)
    assert np.array_equal(shown[2].has("missing"), reference & ~serving)
    assert np.array_equal(shown[2].has("extra"), serving & ~reference)
    assert np.array_equal(shown[2].has("both"), serving & reference)


def test_missing_and_extra_pairs_differ_without_colour(opened: Callable) -> None:
    _, (_, _, difference) = first_layer(opened([BOTH_WAYS]), BOTH_WAYS)
    reference, serving = masks(BOTH_WAYS)
    marks = []
    for wrong in (reference & ~serving, serving & ~reference):
        cells = [difference.ink(*pair) for pair in np.argwhere(wrong)]
        assert all(cell.any() and not cell.all() for cell in cells)
        marks.append({cell.tobytes() for cell in cells})
    assert marks[0].isdisjoint(marks[1])
    assert not difference.has("ink")[~(reference ^ serving)].any()


@pytest.mark.parametrize("at", [0, 1, 2], ids=["reference", "serving", "difference"])
def test_pointing_at_a_pair_names_its_query_and_key(page: Page, at: int) -> None:
    entry = BY_NAME["two-images"]
    layer, shown = first_layer(page, entry)
    pairs = [(0, 0), (15, 26), (15, 16), (16, 15), (20, 20), (3, 30), (30, 0), (30, 30)]
    for query, key in pairs:
        shown[at].point(query, key)
        assert readout(page, layer) == told(entry, query, key)
    shown[at].point(15, 16)
    assert readout(page, layer) == (
        "query 15 = image 2, soft token 1 · key 16 = image 2, soft token 2 · reference attends, serving does not"
    )


def test_each_relation_of_the_two_masks_has_its_words(opened: Callable) -> None:
    page = opened([BOTH_WAYS])
    layer, (picture, *_) = first_layer(page, BOTH_WAYS)
    reference, serving = masks(BOTH_WAYS)
    for relation, words in WORDS.items():
        query, key = np.argwhere((reference == relation[0]) & (serving == relation[1]))[-1]
        picture.point(query, key)
        assert readout(page, layer).endswith(f"· {words}")


def test_a_cross_hair_marks_the_pair_in_all_three_pictures_until_the_pointer_leaves(page: Page) -> None:
    layer, shown = first_layer(page, BY_NAME["two-images"])
    shown[0].point(15, 26)
    row, column = (page.elements(f".hair:nth-of-type({number})", layer) for number in (1, 2))
    for picture, across, down in zip(shown, row, column, strict=True):
        corner = picture.canvas.rect
        assert across.rect["y"] == pytest.approx(corner["y"] + 10 + 15 * picture.cell, abs=1)
        assert down.rect["x"] == pytest.approx(corner["x"] + 10 + 26 * picture.cell, abs=1)
        assert across.rect["height"] == down.rect["width"] == pytest.approx(picture.cell, abs=1)
    page.script("arguments[0].dispatchEvent(new PointerEvent('pointerleave'))", shown[0].canvas)
    assert not any(hair.is_displayed() for hair in (*row, *column))


def test_arrow_keys_move_the_read_out_and_stop_at_the_edges(page: Page) -> None:
    from selenium.webdriver import Keys

    entry = BY_NAME["two-images"]
    layer, (picture, *_) = first_layer(page, entry)
    picture.point(10, 10)
    picture.canvas.click()
    picture.point(1, 1)
    steps = [
        (Keys.ARROW_DOWN, (2, 1)),
        (Keys.ARROW_RIGHT, (2, 2)),
        (Keys.ARROW_UP, (1, 2)),
        (Keys.ARROW_LEFT, (1, 1)),
        (Keys.ARROW_UP, (0, 1)),
        (Keys.ARROW_UP, (0, 1)),
        (Keys.END, (0, 30)),
        (Keys.ARROW_RIGHT, (0, 30)),
        (Keys.HOME, (0, 0)),
        (Keys.ARROW_LEFT, (0, 0)),
    ]
    for key, pair in steps:
        picture.canvas.send_keys(key)
        assert readout(page, layer) == told(entry, *pair)


def test_n_and_p_go_through_the_differences_in_order(opened: Callable) -> None:
    entry = result(case="few", layout="t7 i3 t1", reference="unclamped", policy="full-causal")
    entry = replace(entry, logits=None)
    page = opened([entry])
    layer, (picture, *_) = first_layer(page, entry)
    reference, serving = masks(entry)
    differences = np.argwhere(reference != serving).tolist()
    assert len(differences) == 18
    picture.canvas.send_keys("p")
    seen = [readout(page, layer)]
    for _ in range(len(differences)):
        picture.canvas.send_keys("n")
        seen.append(readout(page, layer))
    expected = [told(entry, *pair) for pair in differences]
    assert seen == [*expected, expected[-1]]
    picture.canvas.send_keys("p")
    assert readout(page, layer) == expected[-2]


def test_the_read_out_is_in_sight_while_pointing_in_a_narrow_window(page: Page) -> None:
    page.resize(400, 700)
    layer, shown = first_layer(page, BY_NAME["two-images"])
    for picture in shown:
        picture.point(0, 0)
        box = page.script("return arguments[0].getBoundingClientRect().toJSON()", page.element(".readout", layer))
        assert box["top"] >= 0 and box["bottom"] <= 700


def test_pictures_are_drawn_anew_when_light_turns_to_dark_and_when_the_window_narrows(page: Page) -> None:
    entry = BY_NAME["two-images"]
    layer, light = first_layer(page, entry)
    page.theme("dark")
    dark = pictures(page, layer, len(entry.tokens))
    for before, after in zip(light, dark, strict=True):
        assert before.pixels[1, -1] != after.pixels[1, -1]
    page.resize(400)
    page.wait(lambda: page.element("canvas", layer).size["width"] < 400)
    narrow = pictures(page, layer, len(entry.tokens))
    assert np.array_equal(narrow[2].has("missing"), dark[2].has("missing"))


def test_a_mask_with_more_tokens_than_pixels_shows_every_difference(opened: Callable) -> None:
    entry = replace(result(case="long", layout="t200 I2 t299 I2 t300 I2 t301 I2 t302", policy="causal"), logits=None)
    assert entry.layers[0].missing == 4
    page = opened([entry])
    layer = page.element("details.layer[open]", page.open("long"))
    difference = Picture(page, page.elements("canvas", layer)[2], 1)
    assert len(difference.pixels) < 500
    assert page.elements("figcaption", layer)[2].text.startswith("Difference\none dot stands for ")
    assert (difference.pixels == difference.colours["missing"]).sum() == 4
