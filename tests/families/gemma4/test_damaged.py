"""A checkpoint that somebody else wrote: whatever is damaged in it is one `UsageError` that names the file and the field."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.errors import EnvironmentFailure, UsageError
from harness.families.checkpoint import model
from harness.families.registry import family_of

TEXT = {
    "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"], "num_hidden_layers": 2, "hidden_size": 64,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "intermediate_size": 128, "vocab_size": 256,
    "max_position_embeddings": 512, "use_bidirectional_attention": "vision",
}  # fmt: skip
VISION = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 4}
CONFIG = {
    "model_type": "gemma4",
    "text_config": TEXT,
    "vision_config": VISION,
    "audio_config": None,
    "image_token_id": 6,
}
NUMBERS = [name for name, value in TEXT.items() if isinstance(value, int) and name != "num_hidden_layers"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A directory in which nothing is damaged."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    save_file({"weight": np.zeros((2, 2), np.float32)}, folder / "model.safetensors")
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(UsageError) as error:
        model(str(folder))
    said = str(error.value)
    assert said.isprintable() and said.startswith("model: ")
    return said


def with_config(folder: Path, **changes: object) -> str:
    """What is said of a config.json in which fields of the text's configuration are changed."""
    (folder / "config.json").write_text(json.dumps({**CONFIG, "text_config": {**TEXT, **changes}}))
    return refused(folder)


def test_one_in_which_nothing_is_damaged_is_taken(checkpoint: Path) -> None:
    spec = model(str(checkpoint))
    assert (spec.window, spec.layers, spec.heads, spec.source) == (8, "sf", 4, str(checkpoint))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [None, "8", 8.0, True, [8], {"a": 8}, -1, 0, 10**30], ids=str)
def test_a_number_that_is_none_is_named(checkpoint: Path, name: str, value: object) -> None:
    assert f"text_config.{name}" in with_config(checkpoint, **{name: value})


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_is_missing_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / "config.json").write_text(
        json.dumps({**CONFIG, "text_config": {k: v for k, v in TEXT.items() if k != name}})
    )
    assert f"text_config.{name}: Field required" in refused(checkpoint)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layer_types": []}, "layer_types"),
        ({"layer_types": "sliding_attention"}, "layer_types"),
        ({"layer_types": ["sliding_attention", "linear_attention"]}, "text_config.layer_types.1"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "the last layer"),
        ({"num_hidden_layers": 7}, "num_hidden_layers is 7, and layer_types has 2"),
        ({"num_attention_heads": 3}, "no multiple of num_key_value_heads"),
        ({"num_kv_shared_layers": 2}, "num_kv_shared_layers is 2 of 2 layers"),
        ({"num_kv_shared_layers": 1}, "no layer before these has full_attention"),
        ({"use_bidirectional_attention": "audio"}, "use_bidirectional_attention"),
        ({"final_logit_softcapping": 0}, "final_logit_softcapping"),
        ({"rms_norm_eps": "1e-6"}, "rms_norm_eps"),
        ({"enable_moe_block": True}, "top_k_experts"),
        ({"enable_moe_block": True, "num_experts": 2, "top_k_experts": 3}, "top_k_experts is 3 of num_experts, 2"),
        ({"hidden_activation": None}, "hidden_activation"),
        ({"hidden_activation": "__import__"}, "hidden_activation"),
        ({"rope_parameters": []}, "rope_parameters"),
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 4.0}},
            "rope_parameters has no object for sliding_attention",
        ),
        ({"rope_parameters": {kind: {"rope_theta": "1e6"} for kind in TEXT["layer_types"]}}, "rope_theta"),
        ({"rope_parameters": {kind: {"rope_theta": 1e6, "factor": 0} for kind in TEXT["layer_types"]}}, "factor"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, "rope_scaling"),
    ],
    ids=str,
)
def test_fields_that_make_no_model_are_named(checkpoint: Path, changes: dict, said: str) -> None:
    assert said in with_config(checkpoint, **changes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{", "not JSON in UTF-8"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"{", "not JSON"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b" " * (5 << 20), "at most 4194304 are read"),
        (b"{}", "its config.json says None"),
        (b'{"model_type": "gemma4"}', "text_config: Field required"),
        (b'{"model_type": "gemma4", "text_config": []}', "text_config"),
        (b'{"model_type": "\x1b[31mgemma4"}', "config.json"),
        (json.dumps({**CONFIG, "vision_config": {**VISION, "patch_size": 0}}).encode(), "vision_config.patch_size"),
        (json.dumps({**CONFIG, "audio_config": 1}).encode(), "audio_config"),
        (json.dumps({**CONFIG, "architectures": ["LlamaForCausalLM"]}).encode(), "architectures"),
        (json.dumps({**CONFIG, "architectures": "Gemma4ForConditionalGeneration"}).encode(), "architectures"),
        (json.dumps({**CONFIG, "image_token_id": -1}).encode(), "image_token_id"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_config_that_is_none_is_named(checkpoint: Path, content: bytes, said: str) -> None:
    (checkpoint / "config.json").write_bytes(content)
    assert said in refused(checkpoint)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("make", [Path.mkdir, _pipe, _dangling, _loop])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_what_is_no_file_is_named_and_not_waited_for(checkpoint: Path, name: str, make: Callable[[Path], None]) -> None:
    (checkpoint / name).unlink()
    make(checkpoint / name)
    assert name in refused(checkpoint)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_file_that_is_missing_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    assert name in refused(checkpoint)


@pytest.mark.parametrize("left", [0, 4, 30, -1])
def test_weights_that_are_cut_short_are_named(checkpoint: Path, left: int) -> None:
    whole = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").write_bytes(whole[:left])
    assert "model.safetensors" in refused(checkpoint)


@pytest.mark.parametrize("content", [b"\xff" * 64, b"\x02" + bytes(7) + b"[]", b"\x08" + bytes(7) + b'{"a": 1}'])
def test_weights_with_another_header_are_named(checkpoint: Path, content: bytes) -> None:
    (checkpoint / "model.safetensors").write_bytes(content)
    assert "model.safetensors" in refused(checkpoint)


@pytest.mark.parametrize(
    "index",
    [
        [],
        {},
        {"weight_map": []},
        {"weight_map": {"a": 1}},
        {"weight_map": {"a": "../b"}},
        {"weight_map": {"a": "gone"}},
    ],
    ids=str,
)
def test_an_index_that_leads_nowhere_is_named(checkpoint: Path, index: object) -> None:
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(checkpoint)


@pytest.mark.parametrize(
    "name",
    [
        "models/mine",
        "org/..",
        "org--x/name",
        "a/b/c",
        "/a/b",
        "./a/b",
        "google/",
        "hf:google",
        "hf://a/b",
        "hf:a/b/c",
        "-x/y",
    ],
)
def test_what_is_no_id_in_the_cache_is_not_asked_for(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match="model: "):
        model(name)


def test_offline_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EnvironmentFailure, match="HF_HUB_OFFLINE is set"):
        model("hf:no-such-org/no-such-model")


@pytest.mark.parametrize("field", ["quantization_config", "compression_config"])
@pytest.mark.parametrize("part", [None, "text_config"])
def test_weights_that_are_quantized_are_refused_and_their_shape_is_taken(
    checkpoint: Path, field: str, part: str | None
) -> None:
    said = {field: {"quant_method": "fp8"}}
    config = {**CONFIG, **said} if part is None else {**CONFIG, part: {**TEXT, **said}}
    (checkpoint / "config.json").write_text(json.dumps(config))
    assert f"its config.json: {f'{part}.' if part else ''}{field}: weights that are not quantized" in refused(
        checkpoint
    )
    assert model(str(checkpoint), "dummy").layers == "sf"


def test_the_file_by_which_vllm_alone_quantizes_is_refused(checkpoint: Path) -> None:
    (checkpoint / "hf_quant_config.json").write_text("{}")
    assert "its hf_quant_config.json: weights that are not quantized" in refused(checkpoint)


def test_a_suppressed_token_is_one_of_the_vocabulary(checkpoint: Path) -> None:
    path = checkpoint / "generation_config.json"
    path.write_text(json.dumps({"suppress_tokens": [TEXT["vocab_size"] - 1]}))
    model(str(checkpoint))
    path.write_text(json.dumps({"suppress_tokens": [3, TEXT["vocab_size"]]}))
    assert "its generation_config.json: suppress_tokens: tokens below 256" in refused(checkpoint)


def test_audio_to_which_each_side_would_add_noise_of_its_own_is_refused(checkpoint: Path) -> None:
    path = checkpoint / "processor_config.json"
    path.write_text(json.dumps({"feature_extractor": {"sampling_rate": 8000, "dither": 0.0}}))
    assert family_of(model(str(checkpoint))).rate(model(str(checkpoint))) == 8000
    path.write_text(json.dumps({"feature_extractor": {"dither": 0.01}}))
    with pytest.raises(UsageError, match=r"^audio: .* a dither of 0: each side would add noise .* says 0\.01$"):
        family_of(model(str(checkpoint))).rate(model(str(checkpoint)))
