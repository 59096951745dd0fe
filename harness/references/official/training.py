"""What `gemma` imports of the framework that it is trained with, for an interpreter without that framework.

`gemma` 4.0.1 requires kauldron and dialog, which bring TensorFlow, data sets and OpenCV with them. Its model uses little of
them: `kd.nn.Identity` (returns its input), types that are checked nowhere, keys of a configuration, and types of sharding.
`stand_in` gives it exactly that, and nothing where the framework is installed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any


def stand_in() -> None:
    """Make `import kauldron` and `import dialog` succeed, unless they are installed."""
    for name, modules in (("kauldron", _kauldron), ("dialog", _dialog)):
        if importlib.util.find_spec(name) is None:
            sys.modules.update(modules())


def _kauldron() -> dict[str, ModuleType]:
    from flax import linen

    class Identity(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            return x

    types = {"typechecked": lambda function: function}
    modules: dict[str, dict[str, Any]] = {
        "": {},
        ".kd": {
            "nn": SimpleNamespace(Identity=Identity),
            "sharding": SimpleNamespace(ShardingTree=object, with_sharding_constraint=lambda x, sharding: x),
        },
        ".kontext": {"Key": str, "REQUIRED": "__REQUIRED__"},
        ".ktyping": types,
        ".ktyping.array_type_meta": {"ArrayTypeMeta": type},
        ".typing": types,
        ".utils": {},
        ".utils.immutabledict": {"ImmutableDict": dict},
    }
    made = {f"kauldron{name}": _module(f"kauldron{name}", known, lambda name: _Type) for name, known in modules.items()}
    for name, module in made.items():
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(made[parent], own, module)
    return made


def _dialog() -> dict[str, ModuleType]:
    """Templates of conversations, of which `gemma` reads names of formats when it is imported."""
    formats = type("Format", (), {"__getattr__": lambda self, name: name})()
    return {"dialog": _module("dialog", {"Format": formats}, lambda name: object)}


class _Type:
    """A type of arrays, such as `Float['B L D']`."""

    def __class_getitem__(cls, shape: object) -> type:
        return object


def _module(name: str, known: dict[str, Any], other: Callable[[str], Any]) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = []
    module.__dict__.update(known)

    def missing(attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return other(attribute)

    module.__getattr__ = missing  # type: ignore[method-assign]  # PEP 562
    return module
