"""The options of a setting as parameters of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from types import GenericAlias
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from harness.cli.options import attention
from harness.compare.setting import PARTS, Setting
from harness.options import Option, declared

OPTIONS = {
    field.name: (get_type_hints(owner)[field.name], field.default, option)
    for owner in (*PARTS.values(), Setting)
    for field, option in declared(owner)
}
"""The type, default and declaration of each option, by its name."""


CALLBACKS = {"reference": attention}


def with_setting(*names: str, **defaults: Any) -> Callable[[Callable], Callable]:
    """Give a command that takes a ``setting`` the options of these ``names``, or all, with other ``defaults`` than they are
    declared with.

    The command raises UsageError where a value is not allowed.
    """
    chosen = names or tuple(OPTIONS)

    def decorate(command: Callable) -> Callable:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "setting"]
        taken = {name: _parameter(name, *OPTIONS[name], defaults) for name in chosen}

        @wraps(command)
        def called(**values: Any) -> Any:
            given = {name: _read(values.pop(one.name), *OPTIONS[name]) for name, one in taken.items()}
            return command(**values, setting=Setting.of(**given))

        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *taken.values())]
        called.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]  # what inspect looks for first
        called.__annotations__ = {p.name: p.annotation for p in keyword}
        return called

    return decorate


def _parameter(name: str, kind: Any, default: Any, option: Option, defaults: dict[str, Any]) -> inspect.Parameter:
    """The parameter that typer makes an option of: a repeatable one takes a list, one that is read takes text."""
    several = get_origin(kind) is tuple
    one: Any = str if option.read or option.write is not str else get_args(kind)[0] if several else kind
    taken: Any = GenericAlias(list, (one,)) | None if several else one
    annotation: Any = Annotated[taken, typer.Option(option.flag, help=option.help, callback=CALLBACKS.get(name))]
    default = defaults.get(name, None if several else default)
    return inspect.Parameter(
        option.flag.removeprefix("--").replace("-", "_"),
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=annotation,
    )


def _read(value: Any, kind: Any, default: Any, option: Option) -> Any:
    if get_origin(kind) is tuple:
        value = tuple(map(option.read, value or ())) if option.read else tuple(value or ())
    if option.check:
        option.check(value)
    return value
