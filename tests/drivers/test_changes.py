"""A tensor that was changed is put back to the bit, also where what computes is a packed copy of what was loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from harness.engines.vllm.changes import TENFOLD, Changeable


class Packing:
    """As vLLM's methods on a CPU: the weight is gone after it was packed, and the packed one computes."""

    def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
        packed = layer.weight.data.t().contiguous()
        layer.compute = lambda x: x @ packed
        layer.weight = torch.nn.Parameter(torch.empty(0))


class Fused(torch.nn.Module):
    """Two projections of one input in one weight."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3 * size, size))
        self.output_sizes = [size, 2 * size]
        self.quant_method = Packing()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.compute(x)


class Norm(torch.nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(size))
        self.scalar = torch.nn.Buffer(torch.tensor(0.7))
        self.table = torch.nn.Buffer(torch.arange(1.0, 5.0), persistent=False)
        self.variance_epsilon = 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon) * self.weight * self.scalar


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"fused": Fused(4), "norm": Norm(12)})
    fused = model["fused"]
    model.harness_kept = {fused: {"weight": (fused.weight, fused.weight.data.clone())}}
    fused.quant_method.process_weights_after_loading(fused)
    return model


def output(model: torch.nn.Module) -> torch.Tensor:
    return model["norm"](model["fused"](torch.linspace(-1, 1, 4)[None]))


@pytest.mark.parametrize(
    "name", ["fused.weight[0]", "fused.weight[1]", "norm.weight", "norm.scalar", "norm.variance_epsilon"]
)
@torch.no_grad()
def test_a_change_is_felt_and_taken_back(model: torch.nn.Module, name: str) -> None:
    weights, before = Changeable(model), output(model)
    weights.change(name, 0.01)
    assert not torch.equal(output(model), before)
    weights.change("", 0.0)
    assert torch.equal(output(model), before)
    assert model["fused"].weight.numel() == 0


@torch.no_grad()
def test_a_change_is_of_one_part_and_of_the_size_asked_for(model: torch.nn.Module) -> None:
    weights = Changeable(model)
    fused = model["fused"]
    loaded = fused.quant_method and weights.kept[fused]["weight"][1].clone()
    weights.change("fused.weight[1]", 0.25)
    made = fused(torch.eye(4)).t()
    assert torch.equal(made[:4], loaded[:4])
    torch.testing.assert_close((made[4:] / loaded[4:] - 1).abs(), torch.full((8, 4), 0.25))
    weights.change("norm.variance_epsilon", 0.01)
    assert torch.equal(fused(torch.eye(4)).t(), loaded)
    assert model["norm"].variance_epsilon == 1e-6 * TENFOLD
    assert torch.equal(weights.kept[fused]["weight"][1], loaded)


def test_tensors_are_told_by_their_values(model: torch.nn.Module, tmp_path: Path) -> None:
    loaded = model.harness_kept[model["fused"]]["weight"][1]
    stored = {
        "q": loaded[:4],
        "k": loaded[4:],
        "norm": model["norm"].weight.data,
        "scalar": model["norm"].scalar,
        "gone": torch.ones(3),
    }
    save_file({name: tensor.clone() for name, tensor in stored.items()}, tmp_path / "model.safetensors")
    facts = Changeable(model).facts(str(tmp_path))
    assert {part["name"]: (part["kind"], part["holds"]) for part in facts["parts"]} == {
        "fused.weight[0]": ("tensor", "q"),
        "fused.weight[1]": ("tensor", "k"),
        "norm.weight": ("tensor", "norm"),
        "norm.scalar": ("tensor", "scalar"),
        "norm.table": ("computed", None),
        "norm.variance_epsilon": ("epsilon", None),
    }
    assert facts["not loaded"] == ["gone"]
