"""The command line that runs a case again: the same prompts in the same order, the same sides, the same declarations."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

from harness.compare.known import Declared
from harness.compare.setting import Setting
from harness.drivers.timeouts import Timeouts
from harness.prompts.case import Case
from harness.prompts.model_spec import ModelSpec
from harness.verification.interpreters import Asking

TIMES = (("--timeout", "case"), ("--start-timeout", "start"))


class Sides(Protocol):
    """What a command says of the session that it is run in."""

    @property
    def sides(self) -> tuple[str, ...]:
        """The options that name what runs, but for this interpreter."""

    @property
    def timeouts(self) -> Timeouts:
        """How long the drivers have."""

    @property
    def asking(self) -> Asking:
        """How the command begins, and which options of a setting it takes."""


def command(
    case: Case, setting: Setting, spec: ModelSpec, session: Sides | None = None, declared: Iterable[Declared] = ()
) -> str:
    """One line for a POSIX shell that knows ``$'...'`` (bash, zsh, ksh). What ``session`` runs is named where it is not what
    would be taken anyway; where something was ``declared`` the command knows where that stands."""
    asking = session.asking if session else Asking()
    words = ["harness", *asking.words, *(session.sides if session else ()), *_prompt(case), *_model(case, spec)]
    words += ["--chat"] if case.chat and asking.says_chat else []
    words += setting.words_of(asking.options)
    words += _times(session) if session else []
    words += known_words(declared)
    shell = setting.engine.of_shell if asking.options is None else {}
    return " ".join([*(f"{name}={quoted(value)}" for name, value in shell.items()), *map(quoted, words)])


def known_words(declared: Iterable[Declared]) -> list[str]:
    """The options that name the catalogue and the files that declarations stand in."""
    found = dict.fromkeys((one.file, one.catalogue) for one in declared)
    files = [word for file, _ in found if file for word in ("--known", file)]
    catalogues = [catalogue for file, catalogue in found if not file]
    return [
        *files,
        *(word for one in catalogues if one for word in ("--cases", one)),
        *(["--known"] if catalogues else []),
    ]


@lru_cache(maxsize=4096)
def quoted(word: str) -> str:
    """A word as a shell reads it back: in quotes where it needs them, and with what cannot be seen escaped byte by byte, so
    that a command stays one line that can be copied."""
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(map(_escaped, word)) + "'"


def _escaped(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    return letter if letter.isprintable() else "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))


def _prompt(case: Case) -> list[str]:
    words = ["--layout", case.layout] if case.layout else []
    words += ["--picture", "{}x{}".format(*case.picture)] if case.picture else []
    words += [
        word
        for modality, some in case.files.items()
        for file in some
        for word in (f"--{modality}", os.path.abspath(file))
    ]
    return words + (["--text", case.text] if case.text is not None else [])


def _model(case: Case, spec: ModelSpec) -> list[str]:
    words = ["--model", spec.source if os.path.isdir(spec.source) else case.model]
    if spec.dummy_of:
        words = ["--model", spec.dummy_of, "--weights", "dummy", "--layers", str(len(spec.layers))]
    words += ["--window", str(spec.window)] if not spec.source else []
    return words + (["--seed", str(case.seed)] if case.seed else [])


def _times(session: Sides) -> list[str]:
    default = Timeouts()
    given = ((option, getattr(session.timeouts, name), getattr(default, name)) for option, name in TIMES)
    return [word for option, seconds, usual in given if seconds != usual for word in (option, f"{seconds:g}")]
