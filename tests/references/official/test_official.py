"""The official implementation against transformers, both really run, on one checkpoint. Skipped without its environment."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from harness.captures.read import Capture
from harness.compare.agreement import between
from harness.compare.setting import Setting
from harness.errors import DriverFailure
from harness.families.gemma4.presets import PRESETS
from harness.families.registry import preset, prompt_for
from harness.masks.policies import POLICIES
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.verification import environments
from harness.verification.session import Session

ENVIRONMENT = next((one for one in environments.known() if one.release.startswith("official==")), None)
pytestmark = [
    pytest.mark.official,
    pytest.mark.skipif(
        ENVIRONMENT is None,
        reason="the official reference has no environment here; `harness environments make official`",
    ),
]
SHORT, LONG = Layout.parse("t3 i5 t4"), Layout.parse("t3 i7 t2 i12 t3")
SMALL = [name for name in PRESETS if not name.endswith("-shape")]
ROUTES_OTHERWISE = ("26b-a4b-small",)
"""docs/findings/official-moe-router-norm.md: the router of `gemma` 4.0.1 normalises twice."""

Both = tuple[Session, Session]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Transformers and the official reference; no engine is started."""
    cache = tmp_path_factory.mktemp("cache")
    assert ENVIRONMENT is not None
    with Session(cache=cache) as first, Session(cache=cache, reference_python=str(ENVIRONMENT.python)) as second:
        yield first, second


def captures(both: Both, spec: ModelSpec, dtype: str) -> list[tuple[Layout, Capture, Capture]]:
    setting = Setting.of(dtype=dtype)
    prompts = [prompt_for(layout, spec) for layout in (SHORT, LONG)]
    first, second = (session.refer(spec, setting, prompts) for session in both)
    return list(zip((SHORT, LONG), first, second, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "name", [name if name == "tiny" else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
)
def test_it_masks_and_computes_as_transformers_but_for_the_window(name: str, dtype: str, both: Both) -> None:
    spec = preset(name)
    for layout, theirs, ours in captures(both, spec, dtype):
        longer = [len(span) - spec.window for span in layout.spans if len(span) > spec.window]
        apart = sum(more * (more + 1) // 2 for more in longer) if spec.bidirectional else 0
        for facts in theirs.facts.layers:
            sliding = facts.type == "sliding_attention"
            masks, official = (side.unpack(side.masks(facts.index)) for side in (theirs, ours))
            assert not (official & ~masks).any()
            assert [int(group.sum()) for group in masks & ~official] == [apart if sliding else 0] * len(masks)
            policy = "clamp-both" if spec.bidirectional else "causal"
            spans = [(span.start, span.end) for span in layout.spans]
            wanted = POLICIES[policy].mask(len(layout), spans, spec.window, sliding=sliding)
            np.testing.assert_array_equal(official, np.broadcast_to(wanted, official.shape))
        found = between(theirs, ours)
        alike = not apart and name not in ROUTES_OTHERWISE
        if alike or dtype == "float32":  # what a few pairs change drowns in the noise of 16 bits
            assert found.within == alike, found.ratio
        held = {key: one for key, one in ours.facts.loaded.weights.items() if key in theirs.facts.loaded.weights}
        assert held and held == {key: theirs.facts.loaded.weights[key] for key in held}


def test_a_soft_token_that_it_would_lose_is_refused_in_one_line(both: Both) -> None:
    _, official = both
    spec = preset("tiny")
    with pytest.raises(DriverFailure, match="takes no soft token at position 0") as raised:
        official.refer(spec, Setting(), [prompt_for(Layout.parse("I6 t3"), spec)])
    assert "\n" not in str(raised.value)
    (capture,) = official.refer(spec, Setting(), [prompt_for(SHORT, spec)])
    assert capture.facts.versions["gemma"], "the driver goes on"
