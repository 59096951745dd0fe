"""Tests that a pytest of their own runs, on whichever machine their cell runs; what is told of each as soon as it has ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.drivers import safe_path
from harness.drivers.process import LOG_BYTES, ROOT
from harness.drivers.supervise import die_with
from harness.errors import DriverFailure, EnvironmentFailure, FailureKind
from harness.text import uncoloured
from harness.verification.machines import Packed
from harness.verification.made_with import hashed
from harness.verification.workplace import Workplace

TELL = "--harness-tell"
"""The option of pytest that names the file descriptor on which it tells."""
ENDED = (0, 1, 3)
"""Exit codes of a pytest that may have run all that it was asked for."""


@dataclass(frozen=True)
class Told:
    """A ``test`` by its node id, pytest's ``reports`` of it as data, and the ``results`` that it kept for the report."""

    test: str
    reports: list[dict[str, Any]]
    results: list[dict[str, Any]]

    def line(self) -> str:
        return json.dumps([self.test, self.reports, self.results]) + "\n"

    @classmethod
    def of(cls, line: str) -> Told:
        return cls(*json.loads(line))


@dataclass(frozen=True)
class Place:
    """Where tests are: the ``root`` of pytest, by its path on all machines, "" for that of the harness; in it a ``folder`` whose
    Python files have this ``hash``."""

    root: str
    folder: str
    hash: str

    @classmethod
    def of(cls, root: Path, file: Path) -> Place:
        """Of a test's ``file`` beneath the ``root`` of this machine's pytest."""
        name = "" if root == ROOT else str(root)
        return cls(name, str(file.parent.relative_to(root)), hashed(file.parent))

    def here(self) -> Path:
        """The root on this machine.

        Raises:
            EnvironmentFailure: the folder has other files here than where the command was given.
        """
        root = Path(self.root or ROOT)
        if hashed(root / self.folder) != self.hash:
            raise EnvironmentFailure(
                f"--harness-ray: {root / self.folder} of this node has other tests than the command; install the same ones there"
            )
        return root


def tested(
    entered: object, tests: Sequence[str], words: Sequence[str], place: Place, known: Packed | None
) -> Iterator[Told]:
    """Run ``tests`` with further ``words`` of pytest's command line, and the files of known divergences in a folder.

    Raises:
        EnvironmentFailure: this machine has other tests.
        DriverFailure: pytest died, or could not run them.
    """
    root = place.here()
    files = sorted(known.folder().iterdir()) if known else []
    told = [word for file in files for word in ("--harness-known", str(file))]
    with closing(Workplace()) as work:
        log = work.path / "pytest.log"
        read, write = os.pipe()
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "pytest", *tests, *words, *told),
                    *("-q", "-p", "no:cacheprovider", TELL, str(write)),
                ],
                cwd=root,
                env={**os.environ, **safe_path.environment([str(ROOT)])},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                pass_fds=(write,),
                preexec_fn=partial(die_with, os.getpid()),
            )
        os.close(write)
        heard: set[str] = set()
        try:
            with os.fdopen(read, encoding="utf-8") as lines:
                for one in map(Told.of, lines):
                    heard.add(one.test)
                    yield one
            code = process.wait()
        finally:
            process.kill()
            process.wait()
        if code not in ENDED or not heard.issuperset(tests):
            said = uncoloured(log.read_bytes()[-LOG_BYTES:].decode(errors="replace"))
            raise DriverFailure(f"pytest ended with exit code {code}", stage="tests", kind=FailureKind.GONE, log=said)
