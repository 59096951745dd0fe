"""A server is observed: the one test of it that is not slow, so that no change breaks all of attaching unseen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.captures.read import Capture
from harness.compare.expected import masked_by
from harness.drivers.messages import LoadEngine, RunEngine
from harness.engines.vllm.attach.client import Address
from harness.engines.vllm.attach.driver import AttachedEngine
from harness.families import checkpoint
from harness.families.registry import prompt_for
from harness.prompts.layout import Layout
from tests.engines.vllm.attach.served import How, Served

pytestmark = pytest.mark.engine

HOW = How("cpu", joined=True)
LAYOUT = Layout.parse("t3 i5 t4")


def test_a_prompt_with_an_image_is_observed_in_every_layer(server: Served, tmp_path: Path) -> None:
    """Its masks are those of CPU_ATTN, which knows no image."""
    spec = checkpoint.model(str(server.checkpoint))
    engine = AttachedEngine(Address(server.url, str(server.token_file)))
    engine.load(LoadEngine(str(server.checkpoint), "auto", "auto", "cpu", {}))
    prompt = prompt_for(LAYOUT, spec)
    (stored,) = engine.run(RunEngine((prompt,), tmp_path)).captures
    seen = Capture(stored.directory, stored.place)
    assert seen.prompt.token_ids == prompt.token_ids and seen.observed.all()
    assert seen.facts.loaded.weights and seen.facts.engine.runner == "v1"
    assert np.isfinite(seen.tensors["logits"]).all() and len(seen.tensors["logits"]) == len(LAYOUT)
    for layer in seen.facts.layers:
        wanted = masked_by("causal", LAYOUT, spec.window, sliding=layer.type == "sliding_attention")
        assert all(np.array_equal(seen.unpack(group), wanted) for group in seen.masks(layer.index))
    assert [layer.index for layer in seen.facts.layers] == [0, 1]
