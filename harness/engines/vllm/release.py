"""What the source of an installed release of vLLM says of itself: engine arguments with their types, block sizes.

The source is read and not run. Importing vLLM takes seconds and may start what it likes; the classes that declare its
arguments are plain annotated assignments.
"""

from __future__ import annotations

import ast
import math
import mmap
import os
import subprocess
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from harness.drivers import safe_path
from harness.errors import EnvironmentFailure

_WHERE = "import importlib.util as u; print(u.find_spec('vllm').submodule_search_locations[0])"
UNSPLIT = "disable_chunked_mm_input"
"""The engine argument that keeps an image in one step; some platforms set it."""
_RANGE = {
    "gt": ("more than", float.__gt__),
    "ge": ("at least", float.__ge__),
    "lt": ("less than", float.__lt__),
    "le": ("at most", float.__le__),
}


@dataclass(frozen=True)
class Argument:
    """An engine argument as the release declares it: its annotation, and the range that its configuration has for it."""

    name: str
    annotation: ast.expr
    limits: tuple[tuple[str, float], ...]
    names: dict[str, ast.AST]
    """The module-level names of the release's configuration: classes and aliases of types."""

    def admits(self, value: object) -> bool:
        """Whether a value, as JSON holds it, has the declared type and is in the range; what is not known passes."""
        if isinstance(value, (int, float)) and not all(
            _RANGE[sign][1](float(value), limit) for sign, limit in self.limits
        ):
            return False
        return _admits(self.annotation, value, self.names)

    @property
    def allowed(self) -> str:
        """The type, with aliases resolved, and the range, for people."""
        annotation = self.names.get(self.annotation.id) if isinstance(self.annotation, ast.Name) else None
        shown = annotation if isinstance(annotation, ast.expr) else self.annotation
        return ", ".join([ast.unparse(shown), *(f"{_RANGE[sign][0]} {limit:g}" for sign, limit in self.limits)])


@dataclass(frozen=True)
class Release:
    """The package directory of an installed vLLM."""

    package: Path

    @cached_property
    def arguments(self) -> dict[str, Argument]:
        """The fields of `EngineArgs`, by name.

        Raises:
            EnvironmentFailure: they are not where every known release has them.
        """
        declared = self._names.get("EngineArgs")
        if not isinstance(declared, ast.ClassDef):
            raise EnvironmentFailure(
                f"{self.package}: no EngineArgs in engine/arg_utils.py; the engine arguments cannot be checked"
            )
        return {
            name: Argument(name, field.annotation, self._limits(name, field.value), self._names)
            for name, field in _fields(declared).items()
        }

    def block_sizes(self, backend: str) -> tuple[int, ...]:
        """The numbers of which a KV block of ``backend`` (vLLM's own name) is a multiple of one; none where the backend
        works them out when it runs."""
        path = self.backends.get(backend)
        if path is None:
            return ()
        module = self.package.joinpath(*path.split(".")[1:-1]).with_suffix(".py")
        sizes: list[int] = []
        for value in _returned(_parsed(module), "get_supported_kernel_block_sizes"):
            elements = [e.args[0] if isinstance(e, ast.Call) and e.args else e for e in getattr(value, "elts", [value])]
            numbers = [e.value for e in elements if isinstance(e, ast.Constant) and type(e.value) is int]
            if len(numbers) < len(elements):
                return ()
            sizes += numbers
        return tuple(sizes)

    def splits(self, platform: str) -> bool:
        """Whether the images of a model whose images see both ways may be split over steps on this platform."""
        source = self.package / "platforms" / f"{platform}.py"
        return not source.exists() or UNSPLIT not in source.read_text(encoding="utf-8")

    def plans_ahead_on_a_cpu(self, runner: str) -> bool:
        """Whether this model runner has on a CPU something in place of CUDA's streams, which wait for each other where steps are
        planned ahead."""
        own = self.package / "v1/worker" / ("cpu/shm.py" if runner == "v2" else "cpu_model_runner.py")
        return own.exists() and "wait_stream" in own.read_text(encoding="utf-8")

    def drafts(self, method: str, runner: str) -> bool:
        """Whether a model runner ("v1", "v2") has a drafter of this method ("ngram", "mtp") for Gemma 4, and says how many of its
        drafts were thrown away, as V2 does from 0.24 on."""
        v2 = self.package / "v1/worker/gpu"
        own = {"mtp": "gemma4"}.get(method, method)
        if runner == "v1":
            return method == "ngram" or (self.package / f"v1/spec_decode/{own}.py").exists()
        said = v2 / "sample/output.py"
        counted = said.exists() and "num_rejected" in said.read_text(encoding="utf-8")
        return counted and (v2 / "spec_decode" / own).is_dir()

    def registers(self, operator: str) -> bool:
        """Whether one of the release's compiled libraries names this operator of torch."""
        for library in self.package.glob("*.so"):
            with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if content.find(operator.encode()) >= 0:
                    return True
        return False

    @cached_property
    def backends(self) -> dict[str, str]:
        """The class of each backend by its name, from the registry."""
        registry = _parsed(self.package / "v1/attention/backends/registry.py")
        found = next(
            (node for node in registry.body if isinstance(node, ast.ClassDef) and node.name == "AttentionBackendEnum"),
            None,
        )
        assigned = [node for node in getattr(found, "body", ()) if isinstance(node, ast.Assign)]
        return {
            node.targets[0].id: node.value.value
            for node in assigned
            if isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
            and node.value.value
        }

    @cached_property
    def _names(self) -> dict[str, ast.AST]:
        names: dict[str, ast.AST] = {}
        for path in [*sorted(self.package.glob("config/*.py")), self.package / "engine" / "arg_utils.py"]:
            for node in _parsed(path).body:
                if isinstance(node, ast.ClassDef):
                    names[node.name] = node
                elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    names[node.targets[0].id] = node.value
                elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                    names[node.target.id] = node.value
        return names

    def _limits(self, name: str, default: ast.expr | None) -> tuple[tuple[str, float], ...]:
        """The range of the configuration's field that an argument's ``default`` names, or else of the field of its name."""
        owner, field = _named(default) or (None, name)
        classes = [
            node
            for node in self._names.values()
            if isinstance(node, ast.ClassDef) and node.name in (owner, owner or node.name)
        ]
        for declared in classes:
            found = _fields(declared).get(field) if declared.name.endswith("Config") else None
            if found is not None and isinstance(found.value, ast.Call):
                signs = {word.arg: word.value for word in found.value.keywords if word.arg in _RANGE}
                return tuple(
                    (sign, float(ast.literal_eval(limit))) for sign, limit in signs.items() if _is_number(limit)
                )
        return ()


@lru_cache
def release_of(python: str) -> Release:
    """The vLLM that is installed for an interpreter.

    Raises:
        EnvironmentFailure: there is none.
    """
    try:
        safe = {**os.environ, **safe_path.environment()}
        done = subprocess.run([python, "-c", _WHERE], env=safe, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        raise EnvironmentFailure(f"{python}: its vllm cannot be found") from None
    return Release(Path(done.stdout.splitlines()[-1]))


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return ast.Module([], [])


def _returned(module: ast.Module, name: str) -> list[ast.expr | None]:
    """What the functions of this name return."""
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef) and node.name == name]
    return [node.value for function in functions for node in ast.walk(function) if isinstance(node, ast.Return)]


def _fields(declared: ast.ClassDef) -> dict[str, ast.AnnAssign]:
    return {
        node.target.id: node
        for node in declared.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _named(default: ast.expr | None) -> tuple[str, str] | None:
    """The class and field of ``Class.field`` and ``get_field(Class, "field")``."""
    if isinstance(default, ast.Attribute) and isinstance(default.value, ast.Name):
        return default.value.id, default.attr
    if isinstance(default, ast.Call) and len(default.args) == 2:
        owner, field = default.args
        if isinstance(owner, ast.Name) and isinstance(field, ast.Constant) and isinstance(field.value, str):
            return owner.id, field.value
    return None


def _is_number(node: ast.expr) -> bool:
    try:
        return isinstance(ast.literal_eval(node), (int, float))
    except ValueError:
        return False


_PLAIN = {
    "int": lambda value: type(value) is int,
    "float": lambda value: type(value) in (int, float) and math.isfinite(value),
    "bool": lambda value: type(value) is bool,
    "str": lambda value: isinstance(value, str),
    "dict": lambda value: isinstance(value, dict),
    "list": lambda value: isinstance(value, list),
    "Any": lambda value: True,
}


def _admits(annotation: ast.expr, value: object, names: dict[str, ast.AST]) -> bool:
    """Whether ``value`` is what an annotation names. A member of an enumeration is written by its name or
    number."""
    match annotation:
        case ast.Constant(value=None):
            return value is None
        case ast.Constant(value=str() as text):
            return _admits(ast.parse(text, mode="eval").body, value, names)
        case ast.BinOp(left=left, right=right):
            return _admits(left, value, names) or _admits(right, value, names)
        case ast.Name(id=name) if name in _PLAIN:
            return _PLAIN[name](value)
        case ast.Name(id=name):
            return _admits_named(names.get(name), value, names)
        case ast.Subscript(value=ast.Name(id=outer), slice=inner):
            return _admits_generic(outer, inner.elts if isinstance(inner, ast.Tuple) else [inner], value, names)
        case _:
            return isinstance(value, str)


def _admits_named(declared: ast.AST | None, value: object, names: dict[str, ast.AST]) -> bool:
    if isinstance(declared, ast.expr):
        return _admits(declared, value, names)
    if isinstance(declared, ast.ClassDef) and declared.name.endswith("Config"):
        fields = _fields(declared)
        return isinstance(value, dict) and all(
            key in fields and _admits(fields[key].annotation, item, names) for key, item in value.items()
        )
    return isinstance(value, (str, int))


def _admits_generic(outer: str, inner: list[ast.expr], value: object, names: dict[str, ast.AST]) -> bool:
    match outer:
        case "Literal":
            return any(
                isinstance(each, ast.Constant) and type(each.value) is type(value) and each.value == value
                for each in inner
            )
        case "list" | "set" | "tuple" | "Sequence":
            return isinstance(value, list) and all(_admits(inner[0], item, names) for item in value)
        case "dict" | "Mapping":
            return isinstance(value, dict) and all(_admits(inner[-1], item, names) for item in value.values())
        case "Optional":
            return value is None or _admits(inner[0], value, names)
        case "Union":
            return any(_admits(each, value, names) for each in inner)
        case "Annotated" | "SkipValidation" | "ClassVar":
            return _admits(inner[0], value, names)
        case _:
            return False
