"""A further reference beside transformers, both really run, on one checkpoint; no engine is started."""

from __future__ import annotations

import numpy as np

from harness.captures.read import Capture
from harness.compare.setting import Setting
from harness.families.registry import prompt_for
from harness.masks.policies import POLICIES
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.verification import environments
from harness.verification.environments.store import Environment
from harness.verification.session import Session

Both = tuple[Session, Session]


def environment(name: str) -> Environment | None:
    """That of the reference of this name, if it was made here."""
    return next((one for one in environments.known() if one.release.startswith(f"{name}==")), None)


def captures(both: Both, spec: ModelSpec, dtype: str, layouts: list[Layout]) -> list[tuple[Layout, Capture, Capture]]:
    """Of each layout transformers' capture and the other reference's."""
    setting, prompts = Setting.of(dtype=dtype), [prompt_for(layout, spec) for layout in layouts]
    first, second = (session.refer(spec, setting, prompts) for session in both)
    return list(zip(layouts, first, second, strict=True))


def pairs_beyond(layout: Layout, window: int) -> int:
    """Pairs of one half of the images that are further apart than the window: (n - W)(n - W + 1)/2 of an image of n tokens."""
    longer = [len(span) - window for span in layout.spans if len(span) > window]
    return sum(more * (more + 1) // 2 for more in longer)


def check_policy(layout: Layout, spec: ModelSpec, capture: Capture, policy: str) -> None:
    """Every mask of the capture is that of the policy."""
    spans = [(span.start, span.end) for span in layout.spans]
    for facts in capture.facts.layers:
        found = capture.unpack(capture.masks(facts.index))
        sliding = facts.type == "sliding_attention"
        wanted = POLICIES[policy].mask(len(layout), spans, spec.window, sliding=sliding)
        np.testing.assert_array_equal(found, np.broadcast_to(wanted, found.shape))


def check_held(theirs: Capture, ours: Capture) -> None:
    """What both hold of the checkpoint is equal by its checksum."""
    first, second = theirs.facts.loaded.weights, ours.facts.loaded.weights
    held = {key: one for key, one in second.items() if key in first}
    assert held and held == {key: first[key] for key in held}
