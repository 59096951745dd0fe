"""A capture is read as it was written, and only if it is whole."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.captures import stack
from harness.captures import write as writing
from harness.captures.facts import SCHEMA, AfterModel, EngineFacts, Facts, HeadFacts, LayerFacts, Loaded, PromptFacts
from harness.captures.read import Capture
from harness.references.transformers import precision

TOKENS = 11
OWN = PromptFacts(tuple(range(TOKENS)), ranges={"0": [[2, 5]], "1": None})
FACTS = Facts(
    layers=(LayerFacts(0, "sliding_attention"), LayerFacts(1, "full_attention")),
    logits_at=tuple(range(TOKENS)),
    versions={"vllm": "0.32.0"},
    seconds={"serving": 0.5},
    loaded=Loaded("a" * 64, {"lm_head.weight": (64, 7), "norm.weight": (8, None)}, ("norm.weight",)),
    after=AfterModel((3, 4), others=("min_length",)),
    head=HeadFacts(None, 1.0, 7),
    special={"image": 5},
    engine=EngineFacts("v2", "triton"),
)


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(2, TOKENS, TOKENS, generator=generator) < 0.5
    return {
        "logits": torch.randn(TOKENS, 7, generator=generator),
        "mask.0": torch.from_numpy(np.packbits(mask.numpy(), axis=-1)),
        "declared.0": torch.from_numpy(np.packbits(mask[0].numpy(), axis=-1)),
        "attention.0": torch.randn(6, TOKENS, generator=generator).T,
    }


def write(directory: Path, tensors: dict[str, torch.Tensor], facts: Facts = FACTS) -> None:
    """A stack of one."""
    writing.write(directory, {name: tensor[None] for name, tensor in tensors.items()}, facts, [OWN])


def test_tensors_and_facts_are_read_back(tmp_path: Path) -> None:
    written = tensors()
    write(tmp_path / "one", written)
    read = Capture(tmp_path / "one")
    assert read.tokens == TOKENS
    assert (read.facts, read.prompt) == (FACTS, OWN)
    assert set(read.tensors) == set(written)
    for name, tensor in written.items():
        np.testing.assert_array_equal(read.tensors[name], tensor.numpy())


def test_float64_is_stored_as_float32_while_a_model_is_kept_in_float64(tmp_path: Path) -> None:
    exact = torch.randn(1, TOKENS, 7, dtype=torch.float64)
    with precision.kept(torch.float64):
        writing.write(tmp_path, {"truth.logits": exact}, FACTS, [OWN])
    read = Capture(tmp_path).tensors["truth.logits"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, exact[0].numpy().astype(np.float32))


def test_each_prompt_of_a_stack_is_read_by_its_place(tmp_path: Path) -> None:
    each = [tensors(seed) for seed in range(3)]
    stacked = {name: torch.stack([one[name] for one in each]) for name in each[0]}
    writing.write(tmp_path, stacked, FACTS, [replace(OWN, token_types=(seed,) * TOKENS) for seed in range(3)])
    for seed, one in enumerate(each):
        read = Capture(tmp_path, seed)
        assert read.prompt.token_types == (seed,) * TOKENS
        for name, tensor in one.items():
            np.testing.assert_array_equal(read.tensors[name], tensor.numpy())


@pytest.mark.parametrize("alike", [True, False])
def test_a_mask_that_all_kv_head_groups_share_is_stored_once(tmp_path: Path, alike: bool) -> None:
    mask = torch.randint(0, 256, (5, 1, TOKENS, 2), dtype=torch.uint8).repeat(1, 8, 1, 1)
    mask[3, 2, 4, 0] ^= 0 if alike else 1
    writing.write(tmp_path, {"mask.0": mask}, FACTS, [OWN] * 5)
    for place in range(5):
        np.testing.assert_array_equal(Capture(tmp_path, place).masks(0), mask[place].numpy())
    assert ((tmp_path / "capture.safetensors").stat().st_size < mask.nbytes) == alike


def test_the_parts_of_ranks_are_joined_by_kv_head_group_and_channel(tmp_path: Path) -> None:
    whole = {
        "mask.0": torch.randint(0, 256, (3, 4, TOKENS, 2), dtype=torch.uint8),
        "attention.0": torch.randn(3, TOKENS, 8, dtype=torch.bfloat16),
        "logits": torch.randn(3, TOKENS, 7),
    }
    for rank in range(2):
        part = {
            **whole,
            "mask.0": whole["mask.0"].chunk(2, 1)[rank],
            "attention.0": whole["attention.0"].chunk(2, -1)[rank],
        }
        writing.save_part(tmp_path / f"rank{rank}.safetensors", part)
    writing.join(tmp_path, 2)
    stack.write_facts(tmp_path, FACTS, [OWN] * 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["capture.json", "capture.safetensors"]
    for place in range(3):
        for name, tensor in whole.items():
            np.testing.assert_array_equal(Capture(tmp_path, place).tensors[name], tensor[place].float().numpy())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_floats_of_every_dtype_are_read_as_float32_with_every_bit_that_it_has(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    values = torch.tensor([[1 / 3, -2.5e-6, 0.0, torch.inf, -torch.inf, torch.nan, 3.1e4]]).to(dtype)
    write(tmp_path, {"logits": values, "mask.0": torch.ones(1, 1, 1, dtype=torch.uint8)})
    read = Capture(tmp_path).tensors
    assert read["logits"].dtype == np.float32 and read["mask.0"].dtype == np.uint8
    np.testing.assert_array_equal(read["logits"], values.float().numpy())


def test_masks_are_unpacked_to_the_tokens_of_the_prompt(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((2, TOKENS, TOKENS)) < 0.5
    write(tmp_path, {**tensors(), "mask.0": torch.from_numpy(np.packbits(mask, axis=-1))})
    read = Capture(tmp_path)
    np.testing.assert_array_equal(read.unpack(read.masks(0)), mask)
    assert read.unpack(read.declared(0)).shape == (TOKENS, TOKENS)
    assert Capture(tmp_path).declared(1) is None


def test_every_position_counts_unless_the_capture_says_otherwise(tmp_path: Path) -> None:
    write(tmp_path / "all", tensors())
    write(tmp_path / "some", {**tensors(), "observed": torch.arange(TOKENS, dtype=torch.uint8).clamp(max=1)})
    assert Capture(tmp_path / "all").observed.all()
    assert Capture(tmp_path / "some").observed.tolist() == [False] + [True] * (TOKENS - 1)


def test_equal_captures_are_equal_bytes(tmp_path: Path) -> None:
    written = tensors()
    write(tmp_path / "one", written)
    write(tmp_path / "two", dict(reversed(written.items())), replace(FACTS, versions=dict(FACTS.versions)))
    for name in ("capture.safetensors", "capture.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_whole_capture_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write(tmp_path, tensors())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["capture.json", "capture.safetensors"]


@pytest.mark.parametrize(
    "left", [["capture.safetensors.part"], ["capture.safetensors"], ["capture.safetensors", "capture.json.part"]]
)
def test_an_interrupted_write_is_not_taken_for_whole(tmp_path: Path, left: list[str]) -> None:
    write(tmp_path / "whole", tensors())
    cut = tmp_path / "cut"
    cut.mkdir()
    for name in left:
        (cut / name).write_bytes((tmp_path / "whole" / name.removesuffix(".part")).read_bytes()[:40])
    with pytest.raises(FileNotFoundError, match=r"capture.json"):
        _ = Capture(cut).facts


def test_facts_that_cannot_be_written_leave_no_capture(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write(tmp_path, tensors(), replace(FACTS, versions=object()))
    with pytest.raises(FileNotFoundError, match=r"capture.json"):
        _ = Capture(tmp_path).facts


def test_another_schema_is_refused(tmp_path: Path) -> None:
    write(tmp_path, tensors())
    facts = json.loads((tmp_path / "capture.json").read_text())
    (tmp_path / "capture.json").write_text(json.dumps({**facts, "schema": 99}))
    with pytest.raises(ValueError, match=f"schema 99, this harness reads {SCHEMA}"):
        _ = Capture(tmp_path).facts


def test_a_stack_that_numpy_writes_is_read_as_one_that_torch_writes(tmp_path: Path) -> None:
    """Also the bits of bfloat16, and masks whose groups are equal."""
    tensors = {
        "logits": torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16),
        "truth.logits": torch.randn(1, 5, 3, dtype=torch.float64),
        "mask.0": torch.tensor([[[[128], [192], [224], [240], [248]]] * 2], dtype=torch.uint8),
    }
    writing.write(tmp_path / "torch", tensors, FACTS, [OWN])
    arrays = {name: t.numpy() for name, t in tensors.items() if name != "logits"}
    arrays["logits"] = tensors["logits"].view(torch.uint16).numpy()
    stack.write(tmp_path / "numpy", arrays, FACTS, [OWN], ["logits"])
    theirs, ours = (Capture(tmp_path / name).tensors for name in ("torch", "numpy"))
    assert theirs.keys() == ours.keys()
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours[name], tensor)
    assert (tmp_path / "torch" / "capture.safetensors").read_bytes() == (
        tmp_path / "numpy" / "capture.safetensors"
    ).read_bytes()


def test_ranks_have_the_kv_heads_of_a_layer_side_by_side_or_layers_of_their_own(tmp_path: Path) -> None:
    """Ranks 0 and 1 share layer 0, ranks 2 and 3 layer 1, and the first of those has the logits."""
    one = {name: tensor[None] for name, tensor in tensors().items()}
    mask, attention = one["mask.0"], one["attention.0"].contiguous()
    surplus = torch.ones(1, 2, TOKENS, dtype=torch.int32)
    for rank, layer in enumerate((0, 0, 1, 1)):
        part = {f"mask.{layer}": mask, f"attention.{layer}": attention + rank}
        part |= {"logits": one["logits"]} if rank == 2 else {}
        part |= {"surplus.1": surplus} if rank == 3 else {}
        part["run.logits"] = (torch.arange(TOKENS) >= (0 if rank == 2 else TOKENS)).to(torch.uint8)[None]
        writing.save_part(tmp_path / f"rank{rank}.safetensors", part)
    writing.join(tmp_path, 4)
    stack.write_facts(tmp_path, FACTS, [OWN])
    read = Capture(tmp_path)
    assert {read.masks(layer).shape for layer in (0, 1)} == {(4, *mask.shape[2:])}
    np.testing.assert_array_equal(read.surplus(1), np.repeat([[0], [1]], 2, axis=0).repeat(TOKENS, axis=1))
    np.testing.assert_array_equal(read.tensors["attention.1"], torch.cat([attention + 2, attention + 3], dim=-1)[0])
    np.testing.assert_array_equal(read.tensors["logits"], one["logits"][0])
    assert read.answered.all()
    assert not list(tmp_path.glob("rank*"))


def test_a_layer_is_observed_where_all_ranks_that_have_it_observed_it(tmp_path: Path) -> None:
    """Layer 0 is of ranks 0 and 1, layer 1 of rank 2, and rank 3 has no layer that anybody looks at."""
    mask = tensors()["mask.0"][None]
    seen = {0: range(TOKENS), 1: range(TOKENS - 1), 2: range(2)}
    for rank in range(4):
        part = {f"mask.{int(rank == 2)}": mask} if rank in seen else {}
        part |= {"observed": torch.tensor([[at in seen[rank] for at in range(TOKENS)]]).to(torch.uint8)} if part else {}
        writing.save_part(tmp_path / f"rank{rank}.safetensors", {**part, "logits": tensors()["logits"][None]})
    writing.join(tmp_path, 4)
    stack.write_facts(tmp_path, FACTS, [OWN])
    read = Capture(tmp_path)
    assert read.observed.all() and read.observed_in_all.tolist() == [at < 2 for at in range(TOKENS)]
    assert read.rows(0).tolist() == [at < TOKENS - 1 for at in range(TOKENS)]
    assert read.rows(1).tolist() == [at < 2 for at in range(TOKENS)]
