"""Prints a digest of what vLLM's unified attention kernel gives in Triton's interpreter.

``python -m tests.drivers.kernel_output plain|fast``
"""

from __future__ import annotations

import hashlib
import os
import sys

HEADS, KV_HEADS, CHANNELS, BLOCK, TOKENS = 4, 2, 32, 16, 44


def main(fast: bool) -> None:
    os.environ["TRITON_INTERPRET"] = "1"
    from harness.engines.vllm.cpu import interpreter

    interpreter.driver()
    if fast:
        interpreter.speed()
    import torch
    from vllm.v1.attention.ops.triton_unified_attention import unified_attention

    torch.manual_seed(0)
    query = torch.randn(TOKENS, HEADS, CHANNELS)
    keys, values = (torch.randn(4, BLOCK, KV_HEADS, CHANNELS) for _ in range(2))
    one = torch.ones(1, KV_HEADS)
    digest = hashlib.sha256()
    for window, ranges in (((7, 0), [[3, 20]]), ((-1, -1), [[0, 0]])):
        output = torch.zeros_like(query)
        unified_attention(
            q=query, k=keys, v=values, out=output, cu_seqlens_q=torch.tensor([0, TOKENS], dtype=torch.int32),
            max_seqlen_q=TOKENS, seqused_k=torch.tensor([TOKENS], dtype=torch.int32), max_seqlen_k=TOKENS,
            softmax_scale=0.2, causal=True, window_size=window, block_table=torch.arange(4, dtype=torch.int32)[None],
            softcap=0, q_descale=None, k_descale=one, v_descale=one,
            mm_prefix_range=torch.tensor([ranges], dtype=torch.int32), mm_prefix_clamp_sliding_window=True,
        )  # fmt: skip
        assert output.isfinite().all() and output.abs().sum() > 0
        digest.update(output.numpy().tobytes())
    print(digest.hexdigest())


if __name__ == "__main__":
    main(sys.argv[1] == "fast")
