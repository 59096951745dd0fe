"""The masks that policies and declarations expect of a layout."""

from __future__ import annotations

import numpy as np

from harness.compare.known import Declared
from harness.masks.policies import POLICIES
from harness.prompts.layout import Layout


def expected(declared: Declared, layout: Layout, window: int, *, sliding: bool) -> np.ndarray:
    """The mask (N, N) that a declaration expects."""
    return masked_by(declared.policy if sliding else declared.full_policy, layout, window, sliding=sliding)


def masked_by(policy: str, layout: Layout, window: int, *, sliding: bool) -> np.ndarray:
    """The mask (N, N) of a policy; audio is text."""
    return POLICIES[policy].mask(len(layout), layout.vision, window, sliding=sliding)
