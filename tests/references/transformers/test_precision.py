"""A float64 model stays in float64, however its modules ask for float32."""

import torch

from harness.references.transformers import precision


def test_every_way_to_float32_keeps_float64() -> None:
    exact = torch.full((2,), 1 / 3, dtype=torch.float64)
    with precision.kept(torch.float64):
        wide = (exact.float(), exact.to(dtype=torch.float), exact.to(dtype=torch.float32, device="cpu"))
        assert torch.arange(3).float().dtype == torch.float64
        assert torch.ones(1).to(dtype=torch.float32).dtype == torch.float32
        assert exact.to(dtype=torch.bfloat16).dtype == torch.bfloat16
    assert all(torch.equal(one, exact) and one.dtype == torch.float64 for one in wide)
    assert exact.to(dtype=torch.float).dtype == torch.float32
