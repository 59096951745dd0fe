"""What every command checks of its options before it looks at any of them closer."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from typer.core import TyperCommand

from harness.errors import UsageError

_WHOLE = re.compile(r"-?[0-9]+\Z")
_DIGITS = 20
"""Digits of the longest number that is read; no bound is near it."""


@dataclass(frozen=True)
class Bounds:
    """A number from ``least`` to ``most``; ``why`` says what the bounds come from."""

    least: float
    most: float
    why: str
    whole: bool = True

    def check(self, field: str, text: str) -> None:
        """Raise UsageError unless ``text`` is such a number, in ASCII digits."""
        number = self._read(text)
        if number is None or not self.least <= number <= self.most:
            kind = "a whole number" if self.whole else "a number"
            raise UsageError(field, text, f"{kind} from {self.least} to {self.most}: {self.why}")

    def _read(self, text: str) -> float | None:
        if _WHOLE.match(text) and len(text) <= _DIGITS:
            return int(text)
        if self.whole or not text.isascii() or "_" in text:
            return None
        try:
            number = float(text)
        except ValueError:
            return None
        return number if math.isfinite(number) else None


class Command(TyperCommand):
    """A command whose options are given once, unless they are repeatable, and then with other values, are not empty, are within
    their ``bounds``, and mean something beside each other.

    An empty value is what a shell makes of a variable that is not set: it is bad input, and not an option left out.
    """

    bounds: Mapping[str, Bounds] = {}
    alike: Collection[str] = ()
    """Repeatable options of which each value is something of its own, though it be like another."""
    idle: Mapping[str, Mapping[str, Collection[str]]] = {}
    """By the name of a command and of one of its options those that mean nothing beside it."""
    alone: Mapping[str, str] = {}
    """Options that may stand without a value, and the value that they then have."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        args = list(self._completed(ctx, args))
        given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for option in self.get_params(ctx):
            if option.name not in given or not isinstance(given[option.name], (str, list, tuple)):
                continue
            field, values = _written(option, args), given[option.name]
            if isinstance(values, str):
                if order.count(option) > 1:
                    raise UsageError(field, values, f"it is given {order.count(option)} times; give it once")
                values = [values]
            for value in values:
                if not value.strip():
                    raise UsageError(
                        field, value, "an empty value; leave the option out, or set the variable that it is made of"
                    )
                bounds = self.bounds.get(f"{self.name} {option.name}") or self.bounds.get(option.name)
                if bounds:
                    bounds.check(field, value)
            if option.name not in self.alike:
                _check_differ(field, values)
        self._check_meant(given, {option.name: _written(option, args) for option in self.get_params(ctx)})
        return super().parse_args(ctx, args)

    def _check_meant(self, given: Mapping[str, Any], fields: Mapping[str, str]) -> None:
        """Raise UsageError where an option is given beside one that makes it mean nothing."""
        for name, others in self.idle.get(self.name or "", {}).items():
            for other in others:
                if given.get(name) and given.get(other):
                    why = f"it means nothing beside --{fields[name]}; leave it out"
                    raise UsageError(fields[other], _said(given[other], fields[other]), why)

    def _completed(self, ctx, args: list[str]) -> Iterator[str]:
        """The words, with the value of an option that stands alone."""
        takes = {
            word for option in self.get_params(ctx) if not getattr(option, "is_flag", True) for word in option.opts
        }
        is_value = False
        for word, following in zip(args, [*args, "-"][1:], strict=True):
            yield word
            stands_alone = not is_value and word in self.alone and word in takes and following.startswith("-")
            if stands_alone:
                yield self.alone[word]
            is_value = word in takes and not is_value and not stands_alone


def _written(option: Any, args: Sequence[str]) -> str:
    """What the command line calls an option, which may have several names; the first of them where it does not."""
    words = {word.partition("=")[0] for word in args}
    return next((name for name in option.opts if name in words), option.opts[0]).removeprefix("--").replace("_", "-")


def _check_differ(field: str, values: Sequence[str]) -> None:
    """Raise UsageError where two values of a repeatable option are the same one."""
    for place, value in enumerate(values):
        if value in values[:place]:
            raise UsageError(field, value, "it is given twice; give it once")


def _said(value: Any, field: str) -> object:
    """What the command line has of a value: of a flag its name."""
    several = isinstance(value, (list, tuple))
    return ", ".join(map(str, value)) if several else f"--{field}" if value is True else value
