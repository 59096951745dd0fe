"""Options that are declared once, as fields of dataclasses: name, type, choices, help, label, and whether a new engine is
needed. The command line, the label, the command that reproduces a result, and JSON are made from the declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from harness.errors import UsageError


@dataclass(frozen=True)
class Option:
    """What is known of a field besides its name, type and default.

    ``flag`` is the option of the command line. ``label`` makes the words of a label from a value that is not the default;
    without it a label does not show the option. ``always`` says that a label and a command show the default too.
    ``new_engine`` says that an engine must be started anew for another value, or what of a value decides it. ``read`` and ``write``
    turn one value of the command line into one of the field and back; ``check`` raises UsageError for what is not taken from a
    command line.
    """

    flag: str
    help: str
    choices: tuple[str, ...] = ()
    label: Callable[[Any], str] | None = None
    always: bool = False
    new_engine: bool | Callable[[Any], Any] = True
    read: Callable[[str], Any] | None = None
    write: Callable[[Any], str] = str
    check: Callable[[Any], None] | None = None


def option(default: Any, flag: str, help: str, **more: Any) -> Any:
    """A field of a dataclass that is an option; ``more`` are fields of `Option`."""
    return field(default=default, metadata={"option": Option(flag, help, **more)})


def declared(owner: Any) -> Iterator[tuple[Field, Option]]:
    """The options of a dataclass, or of an instance of one, in their order."""
    for one in fields(owner):
        if "option" in one.metadata:
            yield one, one.metadata["option"]


def check_choices(owner: Any) -> None:
    """Raise UsageError where the value of an option is none of its choices."""
    for one, option in declared(owner):
        value = getattr(owner, one.name)
        if option.choices and value not in option.choices:
            flag = option.flag.removeprefix("--")
            field = one.name if one.name.replace("_", "-") == flag else flag
            raise UsageError(field, value, f"one of {', '.join(option.choices)}")


def label(owner: Any) -> list[str]:
    """The words of a label: options that are shown always, and those whose value is not the default."""
    return [
        option.label(value)
        for _, option, value, default in _values(owner)
        if option.label and (option.always or value != default)
    ]


def words(owner: Any, names: Collection[str] | None = None) -> list[str]:
    """The words of a command line that give these values, or those of the options of these ``names``."""
    found: list[str] = []
    for name, option, value, default in _values(owner):
        if names is not None and name not in names:
            continue
        if value is True and not default:
            found.append(option.flag)
        elif isinstance(value, tuple):
            found += [word for one in value for word in (option.flag, option.write(one))]
        elif option.always or value != default:
            found += [option.flag, option.write(value)]
    return found


def engine_key(owner: Any) -> tuple:
    """The values for which an engine must be started anew, as something that can be a key."""
    return tuple(
        (one.name, option.new_engine(value) if callable(option.new_engine) else value)
        for one, option in declared(owner)
        if option.new_engine
        for value in [getattr(owner, one.name)]
    )


def _values(owner: Any) -> Iterator[tuple[str, Option, Any, Any]]:
    for one, option in declared(owner):
        assert one.default is not MISSING
        yield one.name, option, getattr(owner, one.name), one.default
