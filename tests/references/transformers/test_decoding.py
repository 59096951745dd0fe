"""Decoding given tokens through `generate`, of a small text model with weights that are drawn."""

from types import SimpleNamespace

import pytest
import torch

from harness.drivers.messages import Caching
from harness.references.transformers import decoding

TOKENS, STEPS, VOCABULARY, WINDOW = 11, 3, 50, 4


@pytest.fixture(scope="module")
def loaded() -> SimpleNamespace:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig
    from transformers.models.gemma3 import modeling_gemma3

    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, sliding_window=WINDOW, layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    config._attn_implementation = "eager"
    family = SimpleNamespace(types="position_ids", modeling=modeling_gemma3, attention=modeling_gemma3.Gemma3Attention)
    of = SimpleNamespace(attention="eager")
    return SimpleNamespace(model=Gemma3ForCausalLM(config).eval(), family=family, of=of)


def arguments() -> dict[str, torch.Tensor]:
    ids = torch.randint(3, VOCABULARY, (2, TOKENS))
    return {"input_ids": ids, "position_ids": torch.arange(TOKENS).expand(2, -1)}


@pytest.mark.parametrize(
    ("caching", "whole"), [(decoding.DYNAMIC, False), (decoding.DYNAMIC, True), (Caching("dynamic", 4), True)]
)
@torch.no_grad()
def test_logits_are_those_of_one_forward(loaded: SimpleNamespace, caching: Caching, whole: bool) -> None:
    given = arguments()
    found = decoding.run(loaded, given, STEPS, caching, whole=whole)
    torch.testing.assert_close(found, loaded.model(given["input_ids"]).logits[:, 0 if whole else TOKENS - STEPS - 1 :])


@pytest.mark.parametrize("caching", [decoding.DYNAMIC, Caching("dynamic", 5), Caching("static"), Caching("static", 5)])
@torch.no_grad()
def test_masks_are_over_positions_wherever_a_cache_has_their_keys(loaded: SimpleNamespace, caching: Caching) -> None:
    with decoding.observed(loaded, TOKENS) as seen:
        decoding.run(loaded, arguments(), STEPS, caching, whole=True)
    behind = torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)[None, :]
    wanted = [(behind >= 0) & (behind < WINDOW), behind >= 0]
    for layer, mask in seen.masks().items():
        found = decoding.unpacked(mask, TOKENS)
        assert found.shape == (2, 1, TOKENS, TOKENS) and torch.equal(found, wanted[layer].expand_as(found))
    assert len(seen.masks()) == 2
