"""An engine that serves with another back end than it was asked for is found out at its start."""

import pytest

from harness.drivers.serving.releases import check_backend


@pytest.mark.parametrize("asked", ["triton", "TRITON_ATTN"])
def test_another_implementation_is_refused(asked: str) -> None:
    check_backend(asked, ["TritonAttentionImpl"])
    with pytest.raises(RuntimeError, match=f"{asked} was asked for, and the engine serves with CPUAttentionBackendImpl"):
        check_backend(asked, ["CPUAttentionBackendImpl"])
    with pytest.raises(RuntimeError, match="serves with FlashAttentionImpl, TritonAttentionImpl"):
        check_backend(asked, ["FlashAttentionImpl", "TritonAttentionImpl"])


@pytest.mark.parametrize("asked", ["auto", "ROCM_AITER_UNIFIED_ATTN"])
def test_of_a_back_end_that_is_not_known_nothing_is_demanded(asked: str) -> None:
    check_backend(asked, ["AnyImpl"])
