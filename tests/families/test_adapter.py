"""An adapter that is drawn is the same wherever it is drawn, and each of its pairs counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.families import adapter

NAME = "model.language_model.layers.0.self_attn.q_proj"


class Model(torch.nn.Module):
    """One module under the name that it has in a checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        linear = torch.nn.Linear(6, 5, bias=False)
        inner: torch.nn.Module = torch.nn.ModuleDict({"q_proj": linear})
        for name in ("self_attn", "0", "layers", "language_model"):
            inner = torch.nn.ModuleDict({name: inner})
        self.model, self.linear = inner, [linear]


def test_both_sides_draw_the_same_values_which_16_bits_hold(tmp_path: Path) -> None:
    save_file(
        {f"{NAME}.weight": torch.zeros(5, 6), "model.vision_tower.q_proj.weight": torch.zeros(5, 6)},
        tmp_path / "x.safetensors",
    )
    assert adapter.shapes(str(tmp_path)) == {NAME: (5, 6)}
    written = load_file(
        adapter.write(tmp_path / "adapter", adapter.shapes(str(tmp_path))) / "adapter_model.safetensors"
    )
    a, b = adapter.pair(NAME, 5, 6)
    assert set(written) == {f"base_model.model.{NAME}.lora_{each}.weight" for each in "AB"}
    assert torch.equal(written[f"base_model.model.{NAME}.lora_A.weight"], a) and a.shape == (adapter.RANK, 6)
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(b.to(dtype).float(), b)
    assert not torch.equal(adapter.pair(NAME.replace("0", "1"), 5, 6)[0], a)


def test_a_module_adds_what_its_pair_makes_of_the_input() -> None:
    model = Model()
    (linear,), x = model.linear, torch.randn(3, 6)
    before = linear(x)
    adapter.adapt(model)
    a, b = adapter.pair(NAME, 5, 6)
    torch.testing.assert_close(linear(x), before + x @ a.T @ b.T)


def test_a_model_without_such_modules_takes_none_on_either_side(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="fits no module"):
        adapter.adapt(torch.nn.Sequential(torch.nn.Linear(2, 2)))
    save_file({NAME.replace("language_model.", "") + ".weight": torch.zeros(5, 6)}, tmp_path / "x.safetensors")
    with pytest.raises(RuntimeError, match="fits none of its tensors"):
        adapter.shapes(str(tmp_path))
