"""Which attention back ends the installed release offers for Gemma 4 on this GPU, by asking the release.

``python -m harness.drivers.serving.offers`` prints JSON, most preferred first: a list of
{"backend", "reasons"}, where no reason means that it serves. It asks what the engine itself asks:
the platform's `get_valid_backends`, with image ranges, once for each head size of Gemma 4.
"""

from __future__ import annotations

import json
import sys


def offers(head_sizes: tuple[int, ...] = (256, 512), dtype: str = "bfloat16") -> list[dict]:
    """Each back end that the platform considers, with what the release says against it."""
    import torch
    from vllm.platforms import current_platform
    from vllm.v1.attention.selector import AttentionSelectorConfig

    reasons: dict[str, set[str]] = {}
    order: dict[str, int] = {}
    for size in head_sizes:
        config = AttentionSelectorConfig(
            head_size=size, dtype=getattr(torch, dtype), kv_cache_dtype="auto", block_size=None, use_mm_prefix=True
        )
        valid, invalid = current_platform.get_valid_backends(
            device_capability=current_platform.get_device_capability(), attn_selector_config=config, num_heads=32
        )
        for candidate in valid:
            order[candidate.backend.name] = candidate.priority
            reasons.setdefault(candidate.backend.name, set())
        for backend, (priority, against) in invalid.items():
            order[backend.name] = priority
            reasons.setdefault(backend.name, set()).update(f"head size {size}: {reason}" for reason in against)
    return [{"backend": name, "reasons": sorted(reasons[name])} for name in sorted(order, key=order.get)]


if __name__ == "__main__":
    answer = json.dumps(offers())
    sys.stdout.write(answer + "\n")
