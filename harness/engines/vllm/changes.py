"""The tensors of a worker's model as it loaded them, each of which can be changed a little and put back.

Where vLLM packs a weight for its kernel after loading (`process_weights_after_loading`: on a CPU all linear layers and experts),
what was loaded is kept, changed and packed again, and the packed one is put back.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path

import torch

from harness.engines.vllm.options import KEPT_WEIGHTS

EPSILONS = ("variance_epsilon", "eps")
"""Attributes that hold the epsilon of a norm, in vLLM and in torch and transformers."""
TENFOLD = 10.0
"""What an epsilon is multiplied by."""


def keep() -> None:
    """Remember, in this process, the parameters of each module before they are packed, if `KEPT_WEIGHTS` asks for it."""
    if not os.environ.get(KEPT_WEIGHTS):
        return
    from vllm.model_executor.model_loader import base_loader

    original = base_loader.process_weights_after_loading

    def process(model, *args, **kwargs):
        model.harness_kept = {
            module: {
                name: (parameter, parameter.data.clone())
                for name, parameter in module._parameters.items()
                if parameter is not None
            }
            for module in model.modules()
            if hasattr(getattr(module, "quant_method", None), "process_weights_after_loading")
        }
        return original(model, *args, **kwargs)

    base_loader.process_weights_after_loading = process


@dataclass(frozen=True)
class Part:
    """A tensor of a module, or the ``rows`` (first, count) of its dimension ``dim`` that are one tensor of the checkpoint, fused
    with others; or the epsilon of a norm."""

    module: torch.nn.Module
    name: str
    dim: int = 0
    rows: tuple[int, int] | None = None

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The part of its tensor, in the same memory."""
        return tensor if self.rows is None else tensor.narrow(self.dim, self.rows[0], self.rows[1])


class Changeable:
    """The parts of ``model``, by name. At most one is changed at a time."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.kept = model.harness_kept
        self.parts: dict[str, Part] = {}
        self.epsilons: dict[str, Part] = {}
        seen: set[tuple] = set()
        for path, module in model.named_modules():
            for name, tensor in self._tensors(module):
                place = (tensor.data_ptr(), tensor.shape)
                if not tensor.is_floating_point() or not tensor.numel() or place in seen:
                    continue
                seen.add(place)
                pieces = list(_pieces(module, name, tensor))
                for index, part in enumerate(pieces):
                    self.parts[f"{path}.{name}" + (f"[{index}]" if len(pieces) > 1 else "")] = part
            for name in filter(lambda name: isinstance(getattr(module, name, None), float), EPSILONS):
                self.epsilons[f"{path}.{name}"] = Part(module, name)
        self._undo = ExitStack()

    def facts(self, checkpoint: str) -> dict:
        """``parts`` with name, kind, and the tensor of the ``checkpoint``, a directory, that it holds, by its values; and the
        tensors of the checkpoint that were ``not loaded``. Kinds are "tensor", "computed" for a buffer that holds none, and
        "epsilon"."""
        from safetensors.torch import load_file

        stored = {
            key: one for path in sorted(Path(checkpoint).glob("*.safetensors")) for key, one in load_file(path).items()
        }
        held: set[str] = set()
        parts = []
        known: dict[torch.dtype, dict[str, list[str]]] = {}
        for name, part in self.parts.items():
            values = part.of(self._loaded(part))
            if values.dtype not in known:
                known[values.dtype] = defaultdict(list)
                for key, one in stored.items():
                    known[values.dtype][_digest(one.to(values.dtype))].append(key)
            alike = known[values.dtype][_digest(values)]
            holds = max(alike, key=lambda key: _common_end(key, name), default=None)
            if holds is not None:
                held.add(holds)
            if part.rows:
                held.update(known[values.dtype][_digest(self._loaded(part))][:1])
            kind = "tensor" if holds or part.name not in part.module._buffers else "computed"
            parts.append({"name": name, "kind": kind, "holds": holds})
        parts += [{"name": name, "kind": "epsilon", "holds": None} for name in self.epsilons]
        return {"parts": parts, "not loaded": sorted(set(stored) - held)}

    def change(self, name: str, by: float) -> None:
        """Put back what was changed before, then change each element of a part by plus or minus ``by`` of itself; an epsilon
        tenfold. Nothing is changed for an empty ``name``.

        Raises:
            KeyError: there is no part of this name.
        """
        self._undo.close()
        self._undo = ExitStack()
        if name in self.epsilons:
            self._change_epsilon(self.epsilons[name])
        elif name:
            self._change_tensor(self.parts[name], _factors(name, by))

    def _change_epsilon(self, part: Part) -> None:
        before = getattr(part.module, part.name)
        self._undo.callback(setattr, part.module, part.name, before)
        setattr(part.module, part.name, before * TENFOLD)

    def _change_tensor(self, part: Part, factors: Callable[[torch.Tensor], torch.Tensor]) -> None:
        module = part.module
        if part.name not in self.kept.get(module, {}):
            live = self._loaded(part)
            self._undo.callback(live.copy_, live.clone())
            part.of(live).mul_(factors(part.of(live)))
            return
        for owner in (module, module.quant_method):
            self._undo.callback(_put_back, owner, dict(vars(owner)), dict(getattr(owner, "_parameters", {})))
        for name, (parameter, loaded) in self.kept[module].items():
            self._undo.callback(setattr, parameter, "data", parameter.data)
            parameter.data = loaded.clone()
            module._parameters[name] = parameter
        changed = part.of(self.kept[module][part.name][0].data)
        changed.mul_(factors(changed))
        module.quant_method.process_weights_after_loading(module)

    def _tensors(self, module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
        """A module's own tensors as they were loaded."""
        own = self.kept.get(module, {})
        yield from ((name, loaded) for name, (_, loaded) in own.items())
        both = (*module._parameters.items(), *module._buffers.items())
        yield from ((name, tensor.data) for name, tensor in both if tensor is not None and name not in own)

    def _loaded(self, part: Part) -> torch.Tensor:
        return dict(self._tensors(part.module))[part.name]


def _pieces(module: torch.nn.Module, name: str, tensor: torch.Tensor) -> Iterator[Part]:
    """The parts of a tensor: projections of one input are fused along their outputs, gate and up of experts in `w13`."""
    if name.startswith("w13"):
        sizes, dim = [tensor.shape[1] // 2] * 2, 1
    else:
        sizes, dim = list(getattr(module, "output_sizes", [])), 0
    if not tensor.ndim or len(sizes) < 2 or sum(sizes) != tensor.shape[dim]:
        yield Part(module, name)
        return
    start = 0
    for size in sizes:
        yield Part(module, name, dim, (start, size))
        start += size


def _factors(name: str, by: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Factors of 1 + ``by`` and 1 - ``by``, the same for each call with a name; not of one sign, which a norm would take back."""

    def factors(values: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        signs = 2.0 * torch.randint(2, values.shape, generator=generator) - 1.0
        return (1.0 + by * signs).to(values.device, values.dtype)

    return factors


def _common_end(one: str, other: str) -> int:
    """How many letters two names have in common at their ends."""
    return len(commonprefix([one[::-1], other[::-1]]))  # noqa: RUF071 - letters are meant


def _digest(values: torch.Tensor) -> str:
    return hashlib.sha256(
        f"{list(values.shape)}".encode() + values.float().cpu().contiguous().numpy().tobytes()
    ).hexdigest()


def _put_back(owner: object, attributes: dict, parameters: dict) -> None:
    vars(owner).clear()
    vars(owner).update(attributes)
    if isinstance(owner, torch.nn.Module):
        owner._parameters.clear()
        owner._parameters.update(parameters)
