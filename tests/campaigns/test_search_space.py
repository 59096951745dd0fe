"""For every mutant and window there are layouts to search, and the model takes them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.campaigns.mutation import search_space
from harness.campaigns.soak import taken
from harness.compare.setting import Setting
from harness.engines.vllm.overlays import OVERLAYS
from harness.families.registry import preset

MUTANTS = sorted(name for name, overlay in OVERLAYS.items() if overlay.kind == "mutant")


@pytest.mark.parametrize(("model", "window"), [("tiny", 1), ("tiny", 3), ("31b-shape", 190), ("31b-shape", 1024)])
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(mutant=st.sampled_from(MUTANTS), data=st.data())
def test_what_is_drawn_for_a_mutant_is_taken(model: str, window: int, mutant: str, data: st.DataObject) -> None:
    space = search_space(mutant, preset(model).with_(window=window), Setting(), [], "cpu")
    assert all(taken(space.spec, layout) for layout in data.draw(space.layouts))
