"""The page fits narrow and wide windows, and can be read in light and in dark."""

from collections.abc import Callable

import pytest

from tests.report.page import Page

pytestmark = pytest.mark.browser

TEXT_CONTRAST, PICTURE_CONTRAST = 4.5, 3.0
"""WCAG 2.2: 1.4.3 for text, 1.4.11 for what a picture says by its colours."""

WIDER = """return $$('body *').filter((node) => {
    if (node.closest('svg, .scroll, pre, .skip, .visually-hidden') || !node.checkVisibility()) return false;
    const { left, right, width } = node.getBoundingClientRect();
    return width && (left < -0.5 || right > innerWidth + 0.5);
  }).map((node) => node.outerHTML.slice(0, 80))"""

LUMINANCE = """
  const luminance = ([red, green, blue]) => [red, green, blue].map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  const contrast = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const context = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const flatten = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return context.getImageData(0, 0, 1, 1).data;
  };
"""

FAINT_TEXT = f"""{LUMINANCE}
  const behind = (node) => node ? [...behind(node.parentElement), getComputedStyle(node).backgroundColor] : [];
  const told = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  return $$('body *').filter((node) => told(node) && node.checkVisibility() && !node.closest('svg, script, :disabled'))
    .map((node) => {{
      const ground = behind(node);
      return [contrast(flatten(ground), flatten([...ground, getComputedStyle(node).color])), node.outerHTML.slice(0, 80)];
    }}).filter(([value]) => value < arguments[0])"""

FAINT_COLOURS = f"""{LUMINANCE}
  const colour = (name) => flatten([report.colour(name)]);
  return arguments[0].map(([one, other]) => [contrast(colour(one), colour(other)), one, other])
    .filter(([value]) => value < arguments[1])"""

TOLD_APART = [
    ("mask-none", "mask-earlier"),
    ("mask-none", "mask-later"),
    ("mask-earlier", "mask-later"),
    *((f"mask-{quiet}", f"mask-{loud}") for quiet in ("none", "both") for loud in ("missing", "extra")),
    *(("raised", f"plot-{name}") for name in ("serving", "floor", "bound", "kl")),
]


@pytest.fixture(params=["light", "dark"])
def themed(request: pytest.FixtureRequest, page: Page) -> Page:
    page.theme(request.param)
    return page


@pytest.mark.parametrize("width", [400, 1600])
def test_nothing_is_wider_than_the_window(themed: Page, width: int) -> None:
    themed.resize(width)
    for opened in (False, True):
        if opened:
            themed.open_every_case()
            themed.script("$$('details').forEach((details) => { details.open = true; })")
        sizes = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth, innerWidth]"
        scrolled, inside, window = themed.script(sizes)
        assert window == width
        assert scrolled <= inside
        assert themed.script(WIDER) == []


def test_sixty_cases_fit_a_narrow_window(opened: Callable) -> None:
    page = opened("sixty")
    page.resize(400)
    assert page.script("return document.documentElement.scrollWidth") <= 400
    assert page.script(WIDER) == []


def test_every_text_has_contrast(themed: Page) -> None:
    themed.open_every_case()
    themed.script("$$('details').forEach((details) => { details.open = true; })")
    assert themed.script("return $$('body *').length") > 500
    assert themed.script(FAINT_TEXT, TEXT_CONTRAST) == []


def test_what_pictures_and_plots_tell_apart_by_colour_has_contrast(themed: Page) -> None:
    assert themed.script(FAINT_COLOURS, TOLD_APART, PICTURE_CONTRAST) == []


def test_the_hint_in_the_search_field_has_contrast(themed: Page) -> None:
    hint = f"""{LUMINANCE}
      const style = getComputedStyle(document.getElementById('search'), '::placeholder');
      const ground = flatten([getComputedStyle(document.getElementById('search')).backgroundColor]);
      return [style.opacity, contrast(ground, flatten([style.color]))]"""
    opacity, contrast = themed.script(hint)
    assert opacity == "1"
    assert contrast >= TEXT_CONTRAST


def test_dark_is_dark(page: Page) -> None:
    brightness = f"{LUMINANCE} return luminance(flatten([getComputedStyle(document.body).backgroundColor]))"
    light = page.script(brightness)
    page.theme("dark")
    assert light > 0.8
    assert page.script(brightness) < 0.05


def test_verdicts_are_told_by_words_and_not_by_colour_alone(page: Page) -> None:
    words = page.script("return $$('.badge').map((badge) => [badge.dataset.verdict, badge.textContent])")
    assert all(verdict == word for verdict, word in words)
    above = page.script("return $$('td.above').map((cell) => cell.innerText)")
    assert above and all("above" in cell for cell in above)


@pytest.mark.parametrize("width", [400, 1600])
def test_captions_of_tables_are_read_without_scrolling(page: Page, width: int) -> None:
    page.resize(width)
    page.open("video-and-image")
    cut = """return $$('table').filter((table) => table.checkVisibility()).map((table) =>
      [table.querySelector('caption span').getBoundingClientRect().right, table.parentElement.getBoundingClientRect().right])"""
    edges = page.script(cut)
    assert len(edges) == 2
    assert all(caption <= container for caption, container in edges)
