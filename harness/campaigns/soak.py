"""Looking for a false alarm: generated layouts on settings that are right."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from itertools import count
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from harness.campaigns.mutation import NO_VIDEO, SMALLEST_CHUNK, unsplit
from harness.compare.known import Declared
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.engines.vllm.overlays import OVERLAYS
from harness.errors import DriverFailure, UsageError
from harness.families.content import files_of
from harness.families.registry import family_of, prompt_for
from harness.prompts import strategies
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.verification.interpreters import inspect
from harness.verification.made_with import source
from harness.verification.pipeline import verify_stream
from harness.verification.session import Session

BLOCK = 100
SETTINGS: dict[str, dict[str, Any]] = {
    "v1": {"runner": "v1"},
    "v2 with pr-50539": {"runner": "v2", "overlays": ("pr-50539",)},
}
"""What is right of a back end that is. Where the family does not have what a patch changes V2 is taken as it is (`settings_of`)."""
SCENARIOS = {"plain": 12, "decode": 3, "before": 2, "mates": 1, "chunks": 2}
"""What happens to requests: of 20 layouts so many each."""
EVERY = sum(SCENARIOS.values())
STEPS, TOGETHER = 3, 3
"""Tokens that a prompt is continued with, and layouts that are mates of each other."""


def identity(
    spec: ModelSpec,
    base: Setting,
    batch: int,
    serving_python: str,
    reference_python: str,
    declared: Sequence[Declared] = (),
) -> dict:
    """All that an answer depends on: one that was given for another identity says nothing of this one."""
    return {
        "spec": spec.to_dict(),
        "checkpoint": files_of(spec.source),
        "setting": base.to_dict(),
        "batch": batch,
        "declared": [asdict(one) for one in declared],
        "serving": {"interpreter": serving_python, **inspect(serving_python)},
        "reference": {"interpreter": reference_python, **inspect(reference_python)},
        "harness": {"source": source(), "hypothesis": version("hypothesis")},
    }


def key_of(identity: dict) -> str:
    """A name for an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def settings_of(spec: ModelSpec) -> dict[str, dict[str, Any]]:
    """`SETTINGS` with the patches alone that change something of a model."""
    return {
        name: {**under, "overlays": tuple(one for one in under.get("overlays", ()) if OVERLAYS[one].fits(spec.family))}
        for name, under in SETTINGS.items()
    }


def shares(layouts: int) -> dict[str, int]:
    """How many of ``layouts`` each setting is asked for."""
    each, more = divmod(layouts, len(SETTINGS))
    return {name: each + (index < more) for index, name in enumerate(SETTINGS)}


def block(
    session: Session,
    name: str,
    number: int,
    first: int,
    end: int,
    spec: ModelSpec,
    base: Setting,
    batch: int,
    declared: Sequence[Declared] = (),
) -> Iterator[list[dict]]:
    """Verify the layouts ``first`` up to ``end`` of the `BLOCK` that are drawn with seed ``number``, ``batch`` of them a step;
    what is known of the layouts of each step, a failure with its diagnosis."""
    setting, chunk = base.with_(**settings_of(spec)[name]), max(2 * spec.window, SMALLEST_CHUNK[session.platform])
    happens = [scenario_of(index) for index in range(first, end)]
    whole, in_chunks = drawn(number, spec), drawn(number, spec, chunk) if "chunks" in happens else []
    before = time.perf_counter()
    for scenario in SCENARIOS:
        indices = [index for index, one in enumerate(happens, start=first) if one == scenario]
        size = TOGETHER if scenario == "mates" else batch
        layouts = in_chunks if scenario == "chunks" else whole
        batches = [[layouts[index] for index in some] for some in _cut(indices, size)]
        under = _under(setting, scenario, spec, chunk)
        place = iter(indices)
        for results in verify_stream(session, batches, under, spec, declared, first=first):
            now = time.perf_counter()
            seconds, before = (now - before) / len(results), now
            yield [_answer(name, scenario, number, next(place), result, seconds) for result in results]


def scenario_of(index: int) -> str:
    """What happens to the request at a place of a block, as `SCENARIOS` says."""
    return [name for name, share in SCENARIOS.items() for _ in range(share)][index % EVERY]


def _under(setting: Setting, scenario: str, spec: ModelSpec, chunk: int) -> Setting:
    match scenario:
        case "decode":
            return setting.with_(decode=STEPS)
        case "before":
            longer = -(-(spec.window + 1) // family_of(spec).unit(spec)) * family_of(spec).unit(spec)
            image = min(longer, family_of(spec).longest_image(spec))
            far = f"t{spec.window + 1} i{image} t3"
            return setting.with_(before=(*[far] * taken(spec, Layout.parse(far)), "t5 seed=7"))
        case "chunks":
            limits = (NO_VIDEO,) if "v" in family_of(spec).letters(spec) else ()
            return setting.with_(chunk=chunk, arguments=(*setting.engine.arguments, *limits))
        case _:
            return setting


def _cut(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (indices[begin : begin + size] for begin in range(0, len(indices), size))


def _answer(name: str, scenario: str, number: int, index: int, result: CaseResult, seconds: float) -> dict:
    found = {"setting": name, "block": number, "index": index, "layout": result.layout, "verdict": result.verdict.value}
    found |= {"scenario": scenario, "tokens": len(result.tokens), "seconds": round(seconds, 4)}
    if result.logits:
        found |= {"ratio": round(result.logits.ratio, 3), "error": result.logits.max_abs_diff}
    if not result.verdict.as_expected:
        found |= {"diagnosis": result.diagnosis, "reproduce": result.reproduce}
    return found


def unanswered(name: str, number: int, index: int, failure: DriverFailure) -> dict:
    """What is said of a layout whose process died."""
    found = {
        "setting": name,
        "block": number,
        "index": index,
        "layout": "",
        "verdict": Verdict.ERROR.value,
        "tokens": 0,
        "seconds": 0.0,
    }
    return found | {"diagnosis": f"{name}, layout {index} of block {number}: {failure}", "reproduce": "harness soak"}


def drawn(number: int, spec: ModelSpec, chunk: int | None = None) -> list[Layout]:
    """`BLOCK` layouts of at most 8 windows that the model takes with `STEPS` more tokens, the same for each ``number``; with a
    ``chunk`` of at most three, such as it splits no image of."""
    most = min(8 * spec.window, spec.max_length - 1 - STEPS)
    family = family_of(spec)
    letters, unit, longest = family.letters(spec), family.unit(spec), min(most, family.longest_image(spec))
    either = st.one_of(
        strategies.threshold_layouts(
            window=spec.window,
            max_tokens=most,
            kinds=strategies.among("iIv", letters),
            longest=longest,
            unit=unit,
        ),
        strategies.layouts(max_tokens=most, kinds=strategies.among("tiv", letters), longest=longest, unit=unit),
    )
    if chunk:
        borders, kinds = strategies.Borders(chunk=chunk), strategies.among("iI", letters)
        most = min(3 * chunk, spec.max_length - 1)
        near = strategies.threshold_layouts(
            window=spec.window, max_tokens=most, borders=borders, kinds=kinds, longest=min(longest, most), unit=unit
        )
        either = near.filter(lambda layout: unsplit(layout, chunk))
    either = either.filter(partial(taken, spec)) if spec.source else either
    layouts: list[Layout] = []
    for again in count():
        if len(layouts) >= BLOCK:
            break
        _draw(either, number + (again << 32), layouts)
    return layouts[:BLOCK]


def taken(spec: ModelSpec, layout: Layout) -> bool:
    """Whether a model takes a layout."""
    try:
        prompt_for(layout, spec)
    except UsageError:
        return False
    return True


def _draw(strategy: st.SearchStrategy[Layout], number: int, layouts: list[Layout]) -> None:
    """Add up to `BLOCK` layouts; hypothesis stops before where it finds no more that are new."""

    @seed(number)
    @settings(
        max_examples=BLOCK,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(layout: Layout) -> None:
        layouts.append(layout)

    draw()


def summary(answers: Sequence[dict], planned: int, lost: Sequence[dict] = ()) -> dict:
    """How many layouts of those ``planned``, how long, and the logits error against the floor; on a cluster how many layouts each
    node has answered, and which blocks were ``lost`` with one and run again."""
    ratios = sorted(answer["ratio"] for answer in answers if "ratio" in answer)
    wrong = [answer for answer in answers if not Verdict(answer["verdict"]).as_expected]
    nodes = Counter(answer["node"] for answer in answers if "node" in answer)
    where = {"by node": dict(sorted(nodes.items())), "lost with a node, run again": list(lost)} if nodes else {}
    return {
        "layouts": len(answers),
        "planned": planned,
        "by scenario": {name: sum(answer.get("scenario") == name for answer in answers) for name in SCENARIOS},
        "by setting": {name: sum(answer["setting"] == name for answer in answers) for name in SETTINGS},
        **where,
        "tokens": sum(answer["tokens"] for answer in answers),
        "engine seconds": round(sum(answer["seconds"] for answer in answers), 1),
        "failures": [answer for answer in wrong if answer["verdict"] != Verdict.ERROR],
        "no answer": [answer for answer in wrong if answer["verdict"] == Verdict.ERROR],
        "logits error / noise floor": {
            "median": ratios[len(ratios) // 2] if ratios else None,
            "99 %": ratios[len(ratios) * 99 // 100] if ratios else None,
            "largest": ratios[-1] if ratios else None,
        },
        "largest logits error": max((answer["error"] for answer in answers if "error" in answer), default=None),
    }
