"""What a night found: the checks of each part, read from the files that the part left, and the exit code."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any
from xml.etree import ElementTree as ET

from harness.campaigns import mutation_matrix
from harness.compare.result import AGAIN, NODE
from harness.compare.verdict import Verdict
from harness.text import plain

STATE, RAN, LOST = "harness-state", "harness-node", "harness-lost-with"
"""Properties of a test in pytest's JUnit file: of a failed one what it is, a verdict; on a cluster the node that it ran on, and
each that was lost under it before."""
NOT_EQUIVALENT = "NOT EQUIVALENT"
"""The state of a mutant that was caught although it was argued that it cannot be told apart."""


@dataclass(frozen=True)
class Check:
    """One test, case under a setting, or mutant. ``text`` is what a person needs to see of one that is wrong; ``node`` is where it
    ran, if that was a cluster, and ``lost`` are the nodes that were lost under it before."""

    name: str
    state: str
    text: str = ""
    node: str = ""
    lost: tuple[str, ...] = ()

    @property
    def code(self) -> int:
        return _code(self.state)

    @property
    def layouts(self) -> list[str]:
        return re.findall(r"^[ |]*layout: (.+)$", self.text, re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """A part that has ended. Its own report, of everything it served, is in the folder of its name."""

    name: str
    checks: tuple[Check, ...]
    seconds: float

    @property
    def code(self) -> int:
        return max(check.code for check in self.checks)

    @property
    def counts(self) -> dict[str, int]:
        """How many checks are in each state, the gravest first."""
        found = Counter(check.state for check in self.checks)
        return dict(sorted(found.items(), key=lambda item: -_code(item[0])))

    @property
    def nodes(self) -> dict[str, int]:
        """How many checks ran on each node of a cluster."""
        return dict(sorted(Counter(check.node for check in self.checks if check.node).items()))

    @property
    def run_again(self) -> list[Check]:
        """What was lost with a node, and ran again."""
        return [check for check in self.checks if check.lost]

    @property
    def wrong(self) -> list[Check]:
        return sorted((check for check in self.checks if check.code), key=lambda check: -check.code)


def _code(state: str) -> int:
    """The exit code of a check in this state: a verdict's, and 0 for what is neither wrong nor a verdict."""
    return Verdict(state).exit_code if state in set(Verdict) else int(state == NOT_EQUIVALENT)


def ended(name: str, folder: Path, exit_code: int, seconds: float) -> Part:
    """The part that left its files in ``folder``; an end that its checks do not explain is an ERROR of its own."""
    file, read = READERS[name]
    try:
        checks = read((folder / file).read_text(encoding="utf-8"))
        missing = "" if checks else "nothing was checked"
    except (OSError, ValueError, LookupError, TypeError, ET.ParseError) as error:
        checks, missing = [], f"{file} cannot be read: {type(error).__name__}"
    worst = max((check.code for check in checks), default=0)
    if missing or not 0 <= exit_code <= worst:
        checks.append(Check(f"the part {name}", "ERROR", "; ".join(filter(None, [f"exit code {exit_code}", missing]))))
    return Part(name, tuple(checks), seconds)


def properties(text: str) -> list[Check]:
    """The tests in pytest's JUnit file. What a failed one says of serving is a property that `harness.pytest_plugin` gives it."""
    checks = []
    for case in ET.fromstring(text).iter("testcase"):  # noqa: S314 - pytest wrote it for this run
        name = f"{case.get('classname')}::{case.get('name')}"
        said: dict[str, list[str]] = {}
        for each in case.iter("property"):
            said.setdefault(each.get("name", ""), []).append(each.get("value") or "")
        state = next(iter(said.get(STATE, [])), "") or "ERROR"
        where: dict[str, Any] = {"node": said.get(RAN, [""])[0], "lost": tuple(dict.fromkeys(said.get(LOST, [])))}
        wrong = [child for child in case if child.tag in ("failure", "error")]
        checks += [Check(name, state, _shown(child.text or ""), **where) for child in wrong]
        if not wrong:
            checks.append(Check(name, "PASS" if case.find("skipped") is None else "SKIPPED", **where))
    return checks


def _shown(text: str) -> str:
    """The error's own lines, or all where pytest marks none."""
    lines = [line.removeprefix("E") for line in text.splitlines() if line.startswith("E ")]
    return plain(dedent("\n".join(lines)) or text)


def catalogue(text: str) -> list[Check]:
    """The results in a results.json."""
    return [
        Check(
            f"{result['case']} ({result['setting']['label']})",
            result["verdict"],
            f"{result['diagnosis']}\nlayout: {result['layout']}\nreproduce: {result['reproduce']}",
            result["extra"].get(NODE, ""),
            tuple(result["extra"].get(AGAIN, ())),
        )
        for result in json.loads(text)["results"]
    ]


def mutants(text: str) -> list[Check]:
    """The outcomes in a mutation-matrix.json. A mutant that is caught is as it should be, though its results diverge."""
    lost = mutation_matrix.lost_with_nodes(text)
    return [
        Check(
            outcome["mutant"],
            _end(outcome),
            "\n".join(
                [
                    outcome["sentence"],
                    outcome["diagnosis"],
                    *_failure(outcome),
                    *(f"layout: {layout}" for layout in outcome["layouts"]),
                ]
            ),
            outcome["node"],
            lost.get(outcome["mutant"], ()),
        )
        for outcome in mutation_matrix.read(text)
    ]


def _failure(outcome: dict) -> list[str]:
    return [f"ERROR: {outcome['error']['message']}", outcome["error"]["log"]] if outcome["error"] else []


def _end(outcome: dict) -> str:
    if outcome["error"]:
        return "ERROR"
    if not outcome["right"]:
        return NOT_EQUIVALENT if outcome["caught_by"] else "SURVIVED"
    if outcome["refused"]:
        return "REFUSED"
    return "CAUGHT" if outcome["caught_by"] else "EQUIVALENT"


READERS: dict[str, tuple[str, Callable[[str], list[Check]]]] = {
    "properties": ("tests.xml", properties),
    "catalogue": ("results.json", catalogue),
    "mutants": (mutation_matrix.FILE, mutants),
}
"""For each part, in their order, the file that says what it found."""
