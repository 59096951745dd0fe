"""How fast layouts are verified, against what the engine takes for the same prompts by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from harness.checkpoint.prompt import prompt_for
from harness.checkpoint.spec import ModelSpec
from harness.layout import Layout, Segment
from harness.session import Session
from harness.setting import Setting
from harness.verify import verify_batch


def measure(session: Session, spec: ModelSpec, setting: Setting, tokens: int, batch: int, repeats: int = 3) -> dict:
    """Serve ``batch`` layouts of ``tokens`` tokens plainly and verify them, each ``repeats`` times after a warm-up.

    Returns layouts a minute (engine start not counted), the engine's plain seconds and what verifying
    takes of them in all and by stage, and the ratio of the two.
    """
    layouts = [layout_of(tokens, spec.window, index) for index in range(batch)]
    prompts = [prompt_for(layout, spec, seed=index) for index, layout in enumerate(layouts)]
    session.serve_plainly(spec, setting, prompts)
    verify_batch(session, layouts, setting, spec)
    plain = _median([session.serve_plainly(spec, setting, prompts) for _ in range(repeats)])
    wholes, stages = [], []
    for repeat in range(repeats):
        session.forget_references()
        start = time.perf_counter()
        results = verify_batch(session, layouts, setting, spec)
        wholes.append(time.perf_counter() - start)
        stages.append(results[0].seconds)
        failed = [result.diagnosis for result in results if result.verdict == "ERROR"]
        if failed:
            return {"tokens": tokens, "batch": batch, "layers": spec.layers, "error": failed[0][:200]}
    whole = _median(wholes)
    return {
        "tokens": tokens,
        "batch": batch,
        "layers": spec.layers,
        "layouts a minute": round(60 * batch / whole, 1),
        "plain seconds": round(plain, 4),
        "verified seconds": round(whole, 4),
        "ratio": round(whole / plain, 2),
        "serving seconds": round(_median([s["serving"] for s in stages]), 4),
        "probing seconds": round(_median([s["serving probing"] for s in stages]), 4),
        "reference seconds a layout": round(_median([s["reference"] + s["reference probing"] for s in stages]), 4),
    } | ({"peak GiB": round(peak / 2**30, 2)} if (peak := session.peak_memory(spec, setting)) else {})


def stream(session: Session, spec: ModelSpec, setting: Setting, tokens: int, seconds: float, together: Callable[[], object]) -> float:
    """Verify different layouts of ``tokens`` tokens, one a step, for ``seconds`` after a warm-up; layouts a minute.

    ``together`` is called between the two, so that several engines can begin at the same moment.
    """
    verify_batch(session, [layout_of(tokens, spec.window, 0)], setting, spec)
    together()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        session.forget_references()
        verify_batch(session, [layout_of(tokens, spec.window, count)], setting, spec)
        count += 1
    return 60 * count / (time.perf_counter() - start)


def layout_of(tokens: int, window: int, index: int) -> Layout:
    """A layout of exactly ``tokens`` tokens: text, an image around the window's length, text."""
    soft = max(1, min(window + index % 3 - 1, tokens - 6))
    text = tokens - soft - 2
    return Layout((Segment("t", text // 2), Segment("i", soft), Segment("t", text - text // 2)))


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
