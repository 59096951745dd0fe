"""An engine that serves with another back end than it was asked for is found out at its start."""

import pytest

from harness.engines.vllm.releases import backend_of


@pytest.mark.parametrize("asked", ["triton", "TRITON_ATTN"])
def test_another_implementation_is_refused(asked: str) -> None:
    assert backend_of(asked, ["TritonAttentionImpl"]) == "TRITON_ATTN"
    with pytest.raises(
        RuntimeError, match=f"{asked} was asked for, and the engine serves with CPUAttentionBackendImpl"
    ):
        backend_of(asked, ["CPUAttentionBackendImpl"])
    with pytest.raises(RuntimeError, match="serves with FlashAttentionImpl, TritonAttentionImpl"):
        backend_of(asked, ["FlashAttentionImpl", "TritonAttentionImpl"])


@pytest.mark.parametrize("asked", ["auto", "ROCM_AITER_UNIFIED_ATTN"])
def test_of_a_back_end_that_is_not_known_nothing_is_demanded(asked: str) -> None:
    assert backend_of(asked, ["AnyImpl"]) == asked


def test_the_back_end_that_the_release_prefers_is_found_out() -> None:
    assert backend_of("auto", ["FlashAttentionImpl"]) == "FLASH_ATTN"
