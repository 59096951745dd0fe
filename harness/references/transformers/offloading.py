"""A checkpoint's two models without the weights of their decoder layers, which are loaded for as long as they are needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from harness.families.base import ReferenceSide
from harness.references.transformers.stored import Stored

Tensors = dict[str, torch.Tensor]


class Offloaded:
    """The ``models`` of one checkpoint, of the same layers: a layer's tensors are read once and given to each in its dtype. While
    one layer is used the next one is read, on the CPU."""

    def __init__(
        self, stored: Stored, family: ReferenceSide, models: Mapping[torch.dtype, torch.nn.Module], device: torch.device
    ) -> None:
        self._stored = stored
        self._models = models
        self._device = device
        any_model = next(iter(models.values()))
        self.names = [name for name, module in any_model.named_modules() if isinstance(module, family.decoder_layer)]
        """The layers' names, in their order."""
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._reading: tuple[int, Future[Tensors]] | None = None
        self._load_others(any_model)

    def __len__(self) -> int:
        """How many layers there are."""
        return len(self.names)

    def layers_of(self, model: torch.nn.Module) -> list[torch.nn.Module]:
        """The decoder layers of one of the models."""
        return [model.get_submodule(name) for name in self.names]

    @contextmanager
    def layer(self, index: int) -> Iterator[None]:
        """Have a layer loaded in each model."""
        tensors = self._read(index)
        self._reading = (index + 1, self._ahead.submit(self._of, index + 1)) if index + 1 < len(self) else None
        own = {name: tensor.to(self._device) for name, tensor in tensors.items()}
        del tensors
        layers = {dtype: model.get_submodule(self.names[index]) for dtype, model in self._models.items()}
        for dtype, layer in layers.items():
            _assign(layer, {name: _in(tensor, dtype) for name, tensor in own.items()})
        del own
        try:
            yield
        finally:
            for layer in layers.values():
                _assign(layer, {name: tensor.to("meta") for name, tensor in layer.state_dict().items()})

    def _read(self, index: int) -> Tensors:
        ahead, self._reading = self._reading, None
        if ahead and ahead[0] == index:
            return ahead[1].result()
        if ahead:
            ahead[1].result()
        return self._of(index)

    def _of(self, index: int) -> Tensors:
        """The tensors of a layer, by their names in it."""
        model, name = next(iter(self._models.values())), self.names[index]
        return {own: self._stored.read(f"{name}.{own}") for own in model.get_submodule(name).state_dict()}

    def _load_others(self, any_model: torch.nn.Module) -> None:
        """Give the models all tensors that are in no decoder layer."""
        inside = tuple(f"{name}." for name in self.names)
        unique = [name for name, _ in (*any_model.named_parameters(), *any_model.named_buffers())]
        for name in unique:
            if name.startswith(inside) or name not in self._stored.places:
                continue
            tensor = self._stored.read(name).to(self._device)
            for dtype, model in self._models.items():
                model.load_state_dict({name: _in(tensor, dtype)}, assign=True, strict=False)
        for model in self._models.values():
            model.tie_weights()


def skeleton(
    config: object, dtype: torch.dtype, device: torch.device, implementation: str, family: ReferenceSide, **more: str
) -> torch.nn.Module:
    """The model of a configuration whose parameters are nowhere yet; what it computes itself is on ``device`` and in ``dtype``."""
    with _nowhere():
        made = family.model._from_config(config, dtype=dtype, attn_implementation=implementation, **more)  # type: ignore[attr-defined]
    for module in made.modules():
        made._init_weights(module)
        for name, buffer in module.named_buffers(recurse=False):
            module.register_buffer(
                name, _in(buffer.to(device), dtype), persistent=name not in module._non_persistent_buffers_set
            )
    family.prepare(made)
    return made.eval()


def renamed(model: torch.nn.Module, stored: Stored) -> None:
    """Call the stored tensors as the model does, where transformers gives them other names alone."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import rename_source_key

    renamings = [one for one in get_model_conversion_mapping(model) if not hasattr(one, "operations")]
    own = model.state_dict()

    def name_of(name: str) -> str:
        if name in own:
            return name
        return rename_source_key(name, renamings, [], model.base_model_prefix, own)[0]

    stored.places = {name_of(name): place for name, place in stored.places.items()}


def keys(model: torch.nn.Module, stored: Stored) -> dict[str, list]:
    """What transformers' loading info would say of a checkpoint."""
    needed = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    own = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    passed_over = [re.compile(pattern) for pattern in getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()]
    return {
        "missing_keys": [name for name in needed if name in own and name not in stored.places],
        "unexpected_keys": [
            name
            for name in stored.places
            if name not in needed and not any(pattern.search(name) for pattern in passed_over)
        ],
        "mismatched_keys": [
            (name, stored.places[name].shape, shape)
            for name, shape in needed.items()
            if name in stored.places and stored.places[name].shape != shape
        ],
    }


def _in(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _assign(module: torch.nn.Module, tensors: Tensors) -> None:
    module.load_state_dict(tensors, assign=True)


@contextmanager
def _nowhere() -> Iterator[None]:
    """Let parameters be made without memory, on the device "meta"; buffers, which models compute, stay where they are."""
    register = torch.nn.Module.register_parameter

    def without_memory(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter | None) -> None:
        if parameter is not None and parameter.device.type != "meta":
            parameter = torch.nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    torch.nn.Module.register_parameter = without_memory
    try:
        yield
    finally:
        torch.nn.Module.register_parameter = register
