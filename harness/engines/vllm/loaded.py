"""What a worker's model holds of each tensor of the checkpoint: fused and sharded parameters are taken apart and called by
the checkpoint's names.

That is written down here anew and not asked of vLLM's loaders, since it is their work that is checked. It is noted before
vLLM brings weights into the form of its kernels: on a CPU that leaves nothing of them where they were.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from harness.drivers import checksum
from harness.families.registry import of_type

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_FUSED_EXPERTS = re.compile(r"experts(\.routed_experts)?\.(w13|w2)_weight\Z")
_ATTENTION = re.compile(r"layers\.(\d+)\.self_attn\.")


@dataclass(frozen=True)
class Piece:
    """A part of the tensor that the checkpoint calls ``name``, with its first element at the indices ``starts``."""

    name: str
    values: torch.Tensor
    starts: tuple[int, ...] = ()


def note_before_processing(forgiven: type[Exception] = AttributeError) -> None:
    """Let each model that vLLM loads in this process have `harness_weights`: `held`, as they were when its loader was done. The
    model has none, and serves, where what it holds could not be noted by an error that is ``forgiven``."""
    from vllm.model_executor.model_loader import base_loader

    process = base_loader.process_weights_after_loading

    def noted(model, model_config, *args, **kwargs):
        try:
            model.harness_weights = held(model, model_config.dtype)
        except forgiven:
            # A release whose layers say in another way what they hold serves all the same; that nothing was compared is a note.
            traceback.print_exc()
        return process(model, model_config, *args, **kwargs)

    base_loader.process_weights_after_loading = noted


def held(model, dtype: torch.dtype) -> list[dict]:
    """Name, starts, shape and checksum in ``dtype`` of each piece. Quantized tensors, and those that are not there yet, have no
    values to compare and so no checksum."""
    return [
        {
            "name": piece.name,
            "starts": list(piece.starts),
            "shape": list(piece.values.shape),
            "sum": checksum.of(piece.values, dtype, piece.starts)
            if piece.values.dtype in FLOATS and not piece.values.is_meta
            else None,
        }
        for piece in pieces(model)
    ]


def joined(ranks: Iterable[list[dict]]) -> dict[str, tuple[int, int | None]]:
    """For each name the number of elements that all ranks hold together, and their checksum: none where a piece has none,
    -1 where two copies of a piece differ."""
    whole: dict[str, dict[tuple, set]] = {}
    for piece in (piece for rank in ranks for piece in rank):
        place = (tuple(piece["starts"]), tuple(piece["shape"]))
        whole.setdefault(piece["name"], {}).setdefault(place, set()).add(piece["sum"])
    return {name: (sum(map(_elements, places)), _sum(places.values())) for name, places in whole.items()}


def _elements(place: tuple) -> int:
    return int(torch.Size(place[1]).numel())


def _sum(copies: Iterable[set]) -> int | None:
    copies = list(copies)
    if any(None in each for each in copies):
        return None
    return -1 if any(len(each) > 1 for each in copies) else checksum.added(*zip(*copies, strict=True))


def pieces(model) -> Iterator[Piece]:
    """Everything that a checkpoint may fill: parameters and buffers that are saved."""
    family = of_type(model.config.model_type)
    called = family.serving_side(model.config.model_type).name_of if family else str
    same = _of_keys_and_values(model)
    for path, module in model.named_modules():
        saved = {name: buffer for name, buffer in module.named_buffers(recurse=False) if _is_saved(module, name)}
        for name, tensor in (*module.named_parameters(recurse=False), *saved.items()):
            for piece in _apart(called(f"{path}.{name}"), module, tensor):
                yield Piece(same(piece.name), piece.values, piece.starts)


def _is_saved(module, name: str) -> bool:
    """Attention's scales of a quantized cache, which begin with an underscore, are vLLM's own."""
    return name not in module._non_persistent_buffers_set and not name.startswith("_")


def _of_keys_and_values(model) -> Callable[[str], str]:
    """Where `attention_k_eq_v` has a full layer's values made of its keys, the checkpoint has k_proj alone."""
    config = model.config.get_text_config()
    full = {str(index) for index, kind in enumerate(config.layer_types) if kind == "full_attention"}
    alike = full if getattr(config, "attention_k_eq_v", False) else set()

    def same(name: str) -> str:
        found = _ATTENTION.search(name)
        return name.replace(".v_proj.", ".k_proj.") if found and found[1] in alike else name

    return same


def _apart(name: str, module, tensor: torch.Tensor) -> Iterator[Piece]:
    """The pieces of one parameter of a module, which is one of vLLM's layers or any other."""
    if fused := _FUSED_EXPERTS.search(name):
        yield from _experts(name, fused, module, tensor)
    elif hasattr(module, "shard_indices"):
        rows = module.shard_indices
        yield Piece(name, tensor[: rows.num_org_elements], (rows.org_vocab_start_index, *[0] * (tensor.ndim - 1)))
    elif name.endswith(("qkv_proj.weight", "qkv_proj.bias")):
        key = module.tp_rank // module.num_kv_head_replicas
        sizes = [module.num_heads * module.head_size, *[module.num_kv_heads * module.head_size] * 2]
        starts = [module.tp_rank * sizes[0], key * sizes[1], key * sizes[2]]
        yield from _rows(name, "qkv_proj", ("q_proj", "k_proj", "v_proj"), tensor, sizes, starts)
    elif name.endswith(("gate_up_proj.weight", "gate_up_proj.bias")):
        sizes = [size // module.tp_size for size in module.output_sizes]
        starts = [size * module.tp_rank for size in sizes]
        yield from _rows(name, "gate_up_proj", ("gate_proj", "up_proj"), tensor, sizes, starts)
    else:
        yield Piece(name, tensor, _starts(module, tensor))


def _rows(name: str, fused: str, parts: tuple[str, ...], tensor: torch.Tensor, sizes: list[int], starts: list[int]):
    """The projections that lie one below the other in a fused one."""
    for part, values, start in zip(parts, tensor.split(sizes), starts, strict=True):
        yield Piece(name.replace(fused, part), values, (start, *[0] * (tensor.ndim - 1)))


def _starts(module, tensor: torch.Tensor) -> tuple[int, ...]:
    """Where the shard of a layer that is split by its input or output begins; other tensors are whole."""
    starts = [0] * tensor.ndim
    per_rank = getattr(module, "output_size_per_partition", None)
    if per_rank is not None and per_rank != module.output_size:
        starts[0] = module.tp_rank * per_rank
    per_rank = getattr(module, "input_size_per_partition", None)
    if tensor.ndim > 1 and per_rank is not None and per_rank != module.input_size:
        starts[1] = module.tp_rank * per_rank
    return tuple(starts)


def _experts(name: str, fused: re.Match[str], module, tensor: torch.Tensor) -> Iterator[Piece]:
    """Experts lie side by side as in the checkpoint, each with its gate above its up projection, split by rank within either;
    with expert parallelism a rank has some of the experts."""
    whole = name.removesuffix(fused[0]) + "experts."
    rank = module.moe_config.tp_rank
    known = getattr(module, "expert_map", None)
    places = [0] if known is None else [int(place) for place in (known >= 0).nonzero()]
    for local, first in enumerate(places):
        some = tensor if known is None else tensor[local : local + 1]
        if fused[2] == "w2":
            yield Piece(f"{whole}down_proj", some, (first, 0, rank * some.shape[2]))
            continue
        size = some.shape[1] // 2
        for half, values in enumerate(some.split(size, dim=1)):
            start = half * size * module.moe_config.tp_size + rank * size
            yield Piece(f"{whole}gate_up_proj", values, (first, start, 0))
