"""Which attention back ends the installed release offers for a model on this GPU, by asking the release.

``python -m harness.engines.vllm.offers PRESET`` prints JSON: by dtype a list, most preferred first, of
{"backend", "reasons"}, where no reason means that it serves. It asks what the engine itself asks: the platform's
`get_valid_backends`, once for each head size, under the configuration that the engine would make of the checkpoint.
That configuration matters: vLLM's `Gemma4Config` chooses the version of FlashAttention for all layers.
"""

from __future__ import annotations

import json
import sys

from harness.families.cache import cache_directory
from harness.families.registry import build, preset
from harness.prompts.model_spec import ModelSpec

DTYPES = ("bfloat16", "float32")


def offers(checkpoint: str, spec: ModelSpec, dtype: str) -> list[dict]:
    """Each back end that the platform considers, with what the release says against it."""
    import torch
    from vllm.config import set_current_vllm_config
    from vllm.engine.arg_utils import EngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.attention.selector import AttentionSelectorConfig

    config = EngineArgs(model=checkpoint, dtype=dtype, max_model_len=1024, enforce_eager=True).create_engine_config()
    reasons: dict[str, set[str]] = {}
    order: dict[str, int] = {}
    for size in (spec.head_dim, spec.global_head_dim):
        asked = AttentionSelectorConfig(
            head_size=size,
            dtype=getattr(torch, dtype),
            kv_cache_dtype="auto",
            block_size=None,
            use_mm_prefix=config.model_config.is_mm_prefix_lm,
        )
        with set_current_vllm_config(config):
            valid, invalid = current_platform.get_valid_backends(
                device_capability=current_platform.get_device_capability(),
                attn_selector_config=asked,
                num_heads=spec.heads,
            )
        for candidate in valid:
            order[candidate.backend.name] = candidate.priority
            reasons.setdefault(candidate.backend.name, set())
        for backend, (priority, against) in invalid.items():
            order[backend.name] = priority
            reasons.setdefault(backend.name, set()).update(f"head size {size}: {reason}" for reason in against)
    return [{"backend": name, "reasons": sorted(reasons[name])} for name in sorted(order, key=order.__getitem__)]


def main() -> None:
    spec = preset(sys.argv[1])
    checkpoint = str(build(spec, cache_directory()))
    answer = json.dumps({dtype: offers(checkpoint, spec, dtype) for dtype in DTYPES})
    sys.stdout.write(answer + "\n")


if __name__ == "__main__":
    main()
