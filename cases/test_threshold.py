"""Around the guard threshold: for every generated layout serving attends what the reference attends.

The profile (`--profile dev|ci|nightly`) says how many layouts and which windows.
"""

import pytest
from hypothesis import given, settings

from harness import strategies
from harness.checkpoint.presets import PRESETS
from harness.compare import failure
from harness.hunt import AS_EXPECTED
from harness.layout import Layout
from harness.session import Session
from harness.setting import Setting
from harness.verify import verify_batch

pytestmark = pytest.mark.engine

RIGHT = [Setting(runner="v1"), Setting(runner="v2", overlays=("pr-50539",))]
WINDOWS = {"dev": [8], "ci": [8, 3], "nightly": [1, 2, 3, 5, 8, 16, 17, 32]}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "window" in metafunc.fixturenames:
        metafunc.parametrize("window", WINDOWS[metafunc.config.getoption("--profile")], ids=lambda w: f"window-{w}")


@pytest.mark.parametrize("setting", RIGHT, ids=lambda s: s.label.replace(" ", "-"))
def test_masks_and_logits_are_equal(session: Session, setting: Setting, window: int) -> None:
    spec = PRESETS["tiny"].with_(window=window)
    if window != 8:
        few = max(5, settings.default.max_examples // 4)
    else:
        few = settings.default.max_examples

    @settings(max_examples=few)
    @given(strategies.threshold_layouts(window=window, max_tokens=48))
    def verify(layout: Layout) -> None:
        (result,) = verify_batch(session, [layout], setting, spec)
        assert result.verdict in AS_EXPECTED, failure.text(result)

    verify()


def test_a_batch_is_as_right_as_its_requests(session: Session) -> None:
    spec = PRESETS["tiny"]

    @settings(max_examples=max(2, settings.default.max_examples // 4))
    @given(strategies.batches(strategies.layouts(max_tokens=24), 3))
    def verify(layouts: list[Layout]) -> None:
        for result in verify_batch(session, layouts, RIGHT[0], spec):
            assert result.verdict in AS_EXPECTED, failure.text(result)

    verify()
