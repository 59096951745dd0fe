"""Which attention back ends the installed release offers for Gemma 4 on this GPU, by asking the release.

``python -m harness.drivers.serving.offers`` prints JSON: a list of {"backend", "reasons"}, where no
reason means that it serves. Every member of `AttentionBackendEnum` is asked.
"""

from __future__ import annotations

import json
import sys


def offers(head_sizes: tuple[int, ...] = (256, 512), dtype: str = "bfloat16") -> list[dict]:
    """Each back end with what the release says against it, for all head sizes together."""
    import torch
    from vllm.platforms import current_platform
    from vllm.v1.attention.backends.registry import AttentionBackendEnum
    from vllm.v1.attention.selector import AttentionSelectorConfig

    capability = current_platform.get_device_capability()
    found = []
    for member in AttentionBackendEnum:
        try:
            backend = member.get_class()
            reasons: list[str] = []
            for size in head_sizes:
                config = AttentionSelectorConfig(
                    head_size=size,
                    dtype=getattr(torch, dtype),
                    kv_cache_dtype="auto",
                    block_size=None,
                    use_mm_prefix=True,
                )
                reasons += backend.validate_configuration(device_capability=capability, **config._asdict())
        except Exception as error:
            reasons = [f"{type(error).__name__}: {str(error)[:120]}"]
        found.append({"backend": member.name, "reasons": sorted(set(reasons))})
    return found


if __name__ == "__main__":
    answer = json.dumps(offers())
    sys.stdout.write(answer + "\n")
