"""What the files of a Gemma 4 checkpoint that exists already say."""

from __future__ import annotations

from pathlib import Path

from harness.errors import UsageError
from harness.families.dummy import shortened
from harness.families.gemma4.config import Config, Pictures, Processor, Sounds, UnifiedConfig
from harness.families.gemma4.prompts import PATCH, POOL, UNIFIED
from harness.families.limits import LONGEST
from harness.families.reading import checked, read
from harness.prompts.model_spec import LAYER_TYPES, ModelSpec

PRESET_PICTURES = PRESET_FRAMES = Pictures(patch_size=PATCH, pooling_kernel_size=POOL, max_soft_tokens=70)


def pictures(spec: ModelSpec) -> Pictures | None:
    """How the image processor of a checkpoint cuts pictures; None where it does not say.

    Raises:
        UsageError: its processor_config.json is damaged.
    """
    return _processor(spec).image_processor if spec.source else PRESET_PICTURES


def sounds(spec: ModelSpec) -> Sounds:
    """How the feature extractor of a checkpoint takes audio; raises as `pictures`."""
    return (_processor(spec).feature_extractor if spec.source else None) or Sounds()


def _processor(spec: ModelSpec) -> Processor:
    path = Path(spec.source) / "processor_config.json"
    return read(spec.name, path, Processor) if path.exists() else Processor()


AS_DRAWN = {"rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True}
"""Fields that a checkpoint with drawn weights has as transformers' defaults are, and so have all published ones."""
ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0},
}


def shape_of(name: str, data: dict) -> ModelSpec:
    """What the config.json says, for weights that are drawn; raises UsageError where it is damaged or says what is not drawn."""
    text = _config(name, data).text_config
    for field, value in {**AS_DRAWN, "rope_parameters": ROPE}.items():
        if (there := getattr(text, field)) not in (None, value):
            raise UsageError("model", name, f"its config.json: {field}: weights are drawn for {value}, not {there}")
    if text.use_bidirectional_attention == "all":
        raise UsageError("model", name, "its config.json: use_bidirectional_attention: vision or none, not all")
    return spec_of(name, data, "")


def spec_of(name: str, data: dict, source: str) -> ModelSpec:
    """What the config.json of a checkpoint says; raises UsageError where it is damaged."""
    config = _config(name, data)
    unified = isinstance(config, UnifiedConfig)
    text = config.text_config
    letters = {kind: letter for letter, kind in LAYER_TYPES.items()}
    spec = ModelSpec(
        name=name,
        source=source,
        window=text.sliding_window,
        layers="".join(letters[kind] for kind in text.layer_types),
        hidden=text.hidden_size,
        heads=text.num_attention_heads,
        kv_heads=text.num_key_value_heads,
        head_dim=text.head_dim,
        global_head_dim=text.global_head_dim or text.head_dim,
        global_kv_heads=text.num_global_key_value_heads or text.num_key_value_heads,
        intermediate=text.intermediate_size,
        vocab=text.vocab_size,
        bidirectional=text.use_bidirectional_attention,
        k_eq_v=text.attention_k_eq_v,
        kv_shared_layers=text.num_kv_shared_layers or 0,
        per_layer_input=text.hidden_size_per_layer_input or 0,
        moe=text.experts,
        expert=text.moe_intermediate_size or 0,
        double_wide=text.use_double_wide_mlp,
        softcap=text.final_logit_softcapping,
        audio=config.audio_config is not None and not unified,
        standardize=config.vision_config is not None and config.vision_config.standardize,
        clipped=config.vision_config is not None and config.vision_config.use_clipped_linears,
        unified=unified,
        max_length=min(text.max_position_embeddings, LONGEST),
    )
    return shortened(spec) if source else spec


def _config(name: str, data: dict) -> Config | UnifiedConfig:
    if data.get("model_type") == UNIFIED:
        return checked(name, "config.json", data, UnifiedConfig)
    return checked(name, "config.json", data, Config)
