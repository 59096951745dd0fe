"""The drafter that is written has what transformers' class of it has, and drafts the last token again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.families.cache import cache_directory
from harness.families.gemma4 import assistant
from harness.families.registry import build, preset
from harness.prompts.model_spec import ModelSpec

SPECS = [preset("tiny"), preset("e4b-small"), preset("26b-a4b-small"), preset("tiny").with_(layers="f")]


def written(spec: ModelSpec, directory: Path) -> dict[str, torch.Tensor]:
    assistant.write(build(spec, cache_directory()), directory)
    return load_file(directory / "model.safetensors")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.name}-{spec.layers}")
def test_it_has_the_tensors_that_its_class_has(tmp_path: Path, spec: ModelSpec) -> None:
    from transformers import AutoConfig, Gemma4AssistantForCausalLM

    tensors = written(spec, tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    with torch.device("meta"):
        expected = Gemma4AssistantForCausalLM(config).state_dict()
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        name: tensor.shape for name, tensor in expected.items() if name != "lm_head.weight"
    }
    assert config.backbone_hidden_size == spec.hidden and config.text_config.sliding_window == spec.window


def test_the_embedding_of_a_token_is_nearest_to_itself(tmp_path: Path) -> None:
    spec = preset("tiny")
    tensors = written(spec, tmp_path)
    embedding = tensors["model.embed_tokens.weight"]
    given = torch.cat([embedding * spec.hidden**0.5, torch.randn(spec.vocab, spec.hidden)], dim=-1)
    hidden = given @ tensors["pre_projection.weight"].T
    hidden = hidden / hidden.square().mean(-1, keepdim=True).sqrt()
    right = (hidden @ embedding.T).argmax(-1) == torch.arange(spec.vocab)
    assert right.float().mean() > 0.8


def test_a_checkpoint_without_the_embedding_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"text_config": {"layer_types": ["full_attention"], "hidden_size": 8}})
    )
    with pytest.raises(RuntimeError, match=r"no file has model\.language_model\.embed_tokens\.weight"):
        assistant.write(tmp_path, tmp_path / "out")
