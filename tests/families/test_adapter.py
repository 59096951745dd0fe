"""An adapter that is drawn is the same wherever it is drawn, and each of its pairs counts."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
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
    a, _ = adapter.pair(NAME, 5, 6)
    assert set(written) == {f"base_model.model.{NAME}.lora_{each}.weight" for each in "AB"}
    assert torch.equal(written[f"base_model.model.{NAME}.lora_A.weight"], a) and a.shape == (adapter.RANK, 6)
    assert not torch.equal(adapter.pair(NAME.replace("0", "1"), 5, 6)[0], a)


@given(outputs=st.integers(1, 40), inputs=st.integers(1, 4000))
def test_values_are_those_of_a_hash_whatever_draws_them(outputs: int, inputs: int) -> None:
    """No generator of torch is asked, so that neither its release nor the processor changes them."""
    torch.manual_seed(outputs)
    for of, drawn in zip("AB", adapter.pair(NAME, outputs, inputs), strict=True):
        first = hashlib.shake_256(f"{NAME} {of}".encode()).digest(2)
        unit = drawn.flatten()[0].item() / (2 * first[0] - 255)
        assert (
            math.frexp(unit)[0] == 0.5
            and drawn.numel() == {"A": adapter.RANK * inputs, "B": outputs * adapter.RANK}[of]
        )
        assert drawn.flatten()[1].item() == unit * (2 * first[1] - 255)
        for dtype in (torch.bfloat16, torch.float16):
            assert torch.equal(drawn.to(dtype).float(), drawn)


def test_a_module_adds_what_its_pair_makes_of_the_input() -> None:
    model = Model()
    (linear,), x = model.linear, torch.randn(3, 6)
    before = linear(x)
    adapter.adapt(model)
    a, b = adapter.pair(NAME, 5, 6)
    torch.testing.assert_close(linear(x), before + adapter.SCALE * (x @ a.T @ b.T))


def test_a_model_without_such_modules_takes_none_on_either_side(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="fits no module"):
        adapter.adapt(torch.nn.Sequential(torch.nn.Linear(2, 2)))
    save_file({NAME.replace("language_model.", "") + ".weight": torch.zeros(5, 6)}, tmp_path / "x.safetensors")
    with pytest.raises(RuntimeError, match="fits none of its tensors"):
        adapter.shapes(str(tmp_path))
