"""Around the guard threshold: for every generated layout serving attends what the reference attends.

The profile (`--profile dev|ci|nightly`) says how many layouts and which windows.
"""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.campaigns.soak import drawn
from harness.compare.setting import Setting
from harness.families.registry import PRESETS
from harness.prompts import strategies
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.pytest_plugin import PROFILES

pytestmark = pytest.mark.engine

RIGHT = [Setting.of(runner="v1"), Setting.of(runner="v2", overlays=("pr-50539",))]
WINDOWS = {"dev": [], "ci": [3], "nightly": [1, 2, 3, 5, 16, 17, 32]}
"""Besides the preset's 8."""
FEW = settings.default.max_examples // 4
FAR = 512 if settings.default.max_examples > PROFILES["ci"] else 256
"""Tokens of the longest prompt: what a CPU interprets of a kernel grows with their square."""
right = pytest.mark.parametrize("setting", RIGHT, ids=lambda s: s.slug)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "window" in metafunc.fixturenames:
        profile = metafunc.config.getoption("--harness-profile") or "ci"
        metafunc.parametrize("window", WINDOWS[profile], ids=lambda w: f"window-{w}")
        metafunc.parametrize("setting", RIGHT if profile == "nightly" else RIGHT[:1], ids=lambda s: s.slug)


@right
@given(layout=strategies.threshold_layouts(window=8, max_tokens=48))
def test_masks_and_logits_are_equal(served_right: Callable, setting: Setting, layout: Layout) -> None:
    served_right([layout], setting, PRESETS["tiny"])


# The layout is drawn within the test: what failed is kept by the test's id, and so each window has its own examples.
@settings(max_examples=max(5, FEW))
@given(data=st.data())
def test_masks_and_logits_are_equal_in_another_window(
    served_right: Callable, setting: Setting, window: int, data: st.DataObject
) -> None:
    layout = data.draw(strategies.threshold_layouts(window=window, max_tokens=48))
    served_right([layout], setting, PRESETS["tiny"].with_(window=window))


@right
@settings(max_examples=max(5, FEW))
@given(data=st.data())
def test_masks_and_logits_are_equal_on_the_model_that_is_named(
    served_right: Callable, setting: Setting, harness_model: ModelSpec, data: st.DataObject
) -> None:
    served_right([data.draw(st.sampled_from(drawn(0, harness_model)))], setting, harness_model)


@settings(max_examples=max(2, FEW // 5))
@given(layout=strategies.long_layouts(most=FAR))
def test_long_prompts_with_few_images_are_equal(served_right: Callable, layout: Layout) -> None:
    served_right([layout], RIGHT[0], PRESETS["tiny"])


@settings(max_examples=max(2, FEW))
@given(layouts=strategies.batches(strategies.layouts(max_tokens=24), 3))
def test_a_batch_is_as_right_as_its_requests(served_right: Callable, layouts: list[Layout]) -> None:
    served_right(layouts, RIGHT[0], PRESETS["tiny"])
