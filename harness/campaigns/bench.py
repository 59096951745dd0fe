"""How fast layouts are verified, against what the engine takes for the same prompts by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families.registry import family_of, prompt_for
from harness.prompts.layout import Layout, Segment
from harness.prompts.model_spec import ModelSpec
from harness.verification.pipeline import in_flight, verify_stream
from harness.verification.session import Session

PLAIN = 9
"""How often a batch is served plainly; the median counts."""
PLAINLY = 1 << 30
"""The first seed of prompts that are served plainly, which no verified layout has."""


def measure(session: Session, spec: ModelSpec, setting: Setting, tokens: int, batch: int, seconds: float) -> dict:
    """Serve batches of ``batch`` layouts of ``tokens`` tokens plainly, then verify such batches for ``seconds``.

    Returns layouts a minute (engine start not counted), the seconds that a batch takes the engine by itself and the
    harness, the ratio of the two, and the stages of a batch, which overlap with those of the next one. Every batch has
    words and pictures of its own, so that nothing is remembered from one to the next.
    """
    layouts = [layout_of(tokens, spec, index) for index in range(batch)]

    def plainly(turn: int) -> float:
        prompts = [
            prompt_for(layout, spec, seed=PLAINLY + turn * batch + index) for index, layout in enumerate(layouts)
        ]
        return session.serve_plainly(spec, setting, prompts)

    plainly(0)
    plain = _median([plainly(turn) for turn in range(1, PLAIN + 1)])
    minute, last = stream(session, spec, setting, tokens, batch, seconds)
    row = {"tokens": tokens, "batch": batch, "layers": spec.layers}
    failed = [result.diagnosis for result in last if result.verdict is Verdict.ERROR]
    if failed:
        return {**row, "error": failed[0][:200]}
    whole, stages = 60 * batch / minute, last[0].seconds
    return {
        **row,
        "layouts a minute": round(minute, 1),
        "plain seconds": round(plain, 4),
        "verified seconds": round(whole, 4),
        "ratio": round(whole / plain, 2),
        "serving seconds": round(stages["serving"], 4),
        "probing seconds": round(stages["serving probing"], 4),
        "reference seconds": round(batch * (stages["reference"] + stages["reference probing"]), 4),
        "comparing seconds": round(sum(result.seconds["comparison"] for result in last), 4),
    } | ({"peak GiB": round(peak / 2**30, 2)} if (peak := session.peak_memory(spec, setting)) else {})


def stream(
    session: Session,
    spec: ModelSpec,
    setting: Setting,
    tokens: int,
    batch: int,
    seconds: float,
    together: Callable[[], object] = lambda: None,
) -> tuple[float, list[CaseResult]]:
    """Verify batches of different layouts for ``seconds``; layouts a minute of those that were served after the first batch
    of each reference driver, and the last batch's results or, if there is one, the first batch's that has an ERROR.

    ``together`` is called before the clock starts, so that several engines can begin at the same moment.
    """
    start, begun = 0.0, 0
    first = len(session.references)
    warm = first + in_flight(session)  # when that one is asked for, the first ones have just been served

    def batches() -> Iterator[list[Layout]]:
        nonlocal start, begun
        while begun <= warm or time.perf_counter() < start + seconds:
            if begun == warm:
                together()
                start = time.perf_counter()
            yield [layout_of(tokens, spec, begun * batch + index) for index in range(batch)]
            begun += 1

    last: list[CaseResult] = []
    for results in verify_stream(session, batches(), setting, spec):
        if not any(result.verdict is Verdict.ERROR for result in last):
            last = results
    return 60 * batch * (begun - first) / (time.perf_counter() - start), last


def layout_of(tokens: int, spec: ModelSpec, index: int) -> Layout:
    """A layout of exactly ``tokens`` tokens, or a few more where an image of the model needs them: text, an image around the
    window's length, text."""
    unit = family_of(spec).unit(spec)
    soft = max(unit, min(spec.window + index % 3 - 1, tokens - 6) // unit * unit)
    text = max(2, tokens - soft - 2)
    return Layout((Segment("t", text // 2), Segment("i", soft), Segment("t", text - text // 2)))


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
