"""Decoding given tokens through `generate`, of a small text model with weights that are drawn."""

from types import SimpleNamespace

import pytest
import torch

from harness.drivers.messages import Caching
from harness.references.transformers import decoding

TOKENS, STEPS, VOCABULARY = 9, 3, 50


@pytest.fixture(scope="module")
def loaded() -> SimpleNamespace:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, sliding_window=4, layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    return SimpleNamespace(model=Gemma3ForCausalLM(config).eval(), family=SimpleNamespace(types="position_ids"))


@pytest.mark.parametrize(
    ("caching", "whole"), [(decoding.DYNAMIC, False), (decoding.DYNAMIC, True), (Caching("dynamic", 4), True)]
)
@torch.no_grad()
def test_logits_are_those_of_one_forward(loaded: SimpleNamespace, caching: Caching, whole: bool) -> None:
    ids = torch.randint(3, VOCABULARY, (2, TOKENS))
    arguments = {"input_ids": ids, "position_ids": torch.arange(TOKENS).expand(2, -1)}
    found = decoding.run(loaded, arguments, STEPS, caching, whole=whole)
    torch.testing.assert_close(found, loaded.model(ids).logits[:, 0 if whole else TOKENS - STEPS - 1 :])
