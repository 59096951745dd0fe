"""A command that reproduces a case, read back by a shell and by the command line."""

from __future__ import annotations

import subprocess
from contextlib import nullcontext, suppress
from types import SimpleNamespace
from typing import Any
from unittest import mock

from harness.cli import app
from harness.compare.known import Declared
from harness.compare.setting import Setting
from harness.prompts.case import Case
from harness.prompts.model_spec import ModelSpec


class Asked(SimpleNamespace):
    """What the command line would have verified."""

    case: Case
    setting: Setting
    declared: list[Declared]
    spec: ModelSpec
    sides: dict[str, Any]


def words_of(line: str) -> list[str]:
    """The words that a shell makes of a line."""
    assert "\n" not in line
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    return [word.decode("utf-8", "surrogateescape") for word in done.stdout.split(b"\0")[:-1]]


def asked(line: str) -> Asked:
    """What `harness run` would do; nothing is started."""
    found = Asked()

    def verify(session, case, setting, declared=(), *, spec):
        found.__dict__.update(case=case, setting=setting, declared=list(declared), spec=spec)
        raise KeyboardInterrupt

    def session(**sides):
        found.sides = sides
        return nullcontext()

    with (
        mock.patch("harness.verification.verify.verify", verify),
        mock.patch("harness.verification.session.Session", session),
        mock.patch("harness.verification.usage.check", return_value=None),
        mock.patch("harness.verification.usage.check_named", return_value=None),
        suppress(KeyboardInterrupt, SystemExit),
    ):
        app.app(words_of(line)[1:], standalone_mode=False)
    return found
