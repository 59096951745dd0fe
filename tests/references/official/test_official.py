"""The official implementation against transformers, both really run, on one checkpoint. Skipped without its environment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.compare.agreement import between
from harness.compare.setting import Setting
from harness.errors import DriverFailure
from harness.families.gemma4.presets import PRESETS
from harness.families.registry import preset, prompt_for
from harness.prompts.layout import Layout
from harness.verification.session import Session
from tests.references.against import Both, captures, check_held, check_policy, environment, pairs_beyond

ENVIRONMENT = environment("official")
pytestmark = [
    pytest.mark.official,
    pytest.mark.skipif(
        ENVIRONMENT is None,
        reason="the official reference has no environment here; `harness environments make official`",
    ),
]
SHORT, LONG = Layout.parse("t3 i5 t4"), Layout.parse("t3 i7 t2 i12 t3")
ROUTES_OTHERWISE = ("26b-a4b-small", "26b-a4b-shape")
"""docs/findings/official-moe-router-norm.md: the router of `gemma` 4.0.1 normalises twice."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    cache = tmp_path_factory.mktemp("cache")
    assert ENVIRONMENT is not None
    with Session(cache=cache) as first, Session(cache=cache, reference_python=str(ENVIRONMENT.python)) as second:
        yield first, second


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "name", [name if name == "tiny" else pytest.param(name, marks=pytest.mark.slow) for name in PRESETS]
)
def test_it_masks_and_computes_as_transformers_but_for_the_window(name: str, dtype: str, both: Both) -> None:
    spec = preset(name)
    layouts = [SHORT, LONG]
    if name.endswith("-shape"):
        layouts = [Layout.parse(f"t3 i{spec.window + more} t4") for more in (0, 1, 96)]
    for layout, theirs, ours in captures(both, spec, dtype, layouts):
        apart = pairs_beyond(layout, spec.window) if spec.bidirectional else 0
        for facts in theirs.facts.layers:
            sliding = facts.type == "sliding_attention"
            masks, official = (side.unpack(side.masks(facts.index)) for side in (theirs, ours))
            assert not (official & ~masks).any()
            assert [int(group.sum()) for group in masks & ~official] == [apart if sliding else 0] * len(masks)
        check_policy(layout, spec, ours, "clamp-both" if spec.bidirectional else "causal")
        found = between(theirs, ours)
        alike = not apart and name not in ROUTES_OTHERWISE
        if alike or dtype == "float32":  # what a few pairs change drowns in the noise of 16 bits
            assert found.within == alike, found.ratio
        check_held(theirs, ours)
        assert ours.facts.versions["jax device"] == "cpu"


def test_a_soft_token_that_it_would_lose_is_refused_in_one_line(both: Both) -> None:
    _, official = both
    spec = preset("tiny")
    with pytest.raises(DriverFailure, match="takes no soft token at position 0") as raised:
        official.refer(spec, Setting(), [prompt_for(Layout.parse("I6 t3"), spec)])
    assert "\n" not in str(raised.value)
    (capture,) = official.refer(spec, Setting(), [prompt_for(SHORT, spec)])
    assert capture.facts.versions["gemma"], "the driver goes on"
