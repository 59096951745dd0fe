"""Prints what vLLM's INT4 cache gives back of the values (tokens, heads, head size) that it is told: a line of JSON."""

from __future__ import annotations

import json
import sys

import torch

from harness.engines.vllm.cpu import backends


def main() -> None:
    backends.register()
    from vllm.v1.attention.ops.int4_per_token_head import reshape_and_cache_int4, single_rht

    values = torch.tensor(json.loads(sys.stdin.read()))
    tokens, heads, size = values.shape
    cache = [torch.zeros(1, tokens, heads, size // 2, dtype=torch.uint8) for _ in range(2)]
    scales = [torch.zeros(1, tokens, heads) for _ in range(2)]
    where = {"k_scale_cache": scales[0], "v_scale_cache": scales[1]}
    reshape_and_cache_int4(values, values.clone(), *cache, torch.arange(tokens), **where)
    bits = scales[0][0].view(torch.int32)
    zero, scale = (bits & 0xF).float(), (bits & -16).view(torch.float32)
    steps = torch.stack([cache[0][0] & 0xF, cache[0][0] >> 4], dim=-1).flatten(-2).float()
    back = single_rht((steps - zero[..., None]) * scale[..., None], inverse=True) / (size & -size)
    print(json.dumps(back.tolist()))


if __name__ == "__main__":
    main()
