"""The model families there are: a line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from harness.errors import UsageError
from harness.families.base import Family
from harness.families.drawn import check_steps
from harness.families.gemma3.family import Gemma3
from harness.families.gemma4.family import Gemma4
from harness.prompts.layout import Layout, Segment
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt
from harness.prompts.scenario import MTP, NGRAM

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Gemma4(),
        Gemma3(),
    )
}  # fmt: skip
"""By name."""
PRESETS: Mapping[str, ModelSpec] = MappingProxyType(
    {name: spec for family in FAMILIES.values() for name, spec in family.presets.items()}
)
"""By name, in the order in which `harness show --models` lists them."""

PUBLISHED: Mapping[str, ModelSpec] = MappingProxyType(
    {name: spec for family in FAMILIES.values() for name, spec in family.published.items()}
)
"""The shapes of published models, by name."""


CONTINUATION = 1 << 31
"""The bit in which the seed of a continuation differs from that of its prompt, so that it has other words."""


def family_of(spec: ModelSpec) -> Family:
    """The family of a spec.

    Raises:
        UsageError: there is none of this name.
    """
    return named(spec.family)


def named(name: str) -> Family:
    """The family of this name; raises as `family_of`."""
    if name not in FAMILIES:
        raise UsageError("family", name, f"one of {', '.join(FAMILIES)}")
    return FAMILIES[name]


def of_type(model_type: str) -> Family | None:
    """The family whose checkpoints have this `model_type` in their config.json."""
    return next((family for family in FAMILIES.values() if model_type in family.model_types), None)


def preset(name: str) -> ModelSpec:
    """The preset of this name; each whose family knows causal images has a twin, with ``-causal`` at the end of its name.

    Raises:
        UsageError: there is none.
    """
    found = next(filter(None, (family.preset(name) for family in FAMILIES.values())), None)
    if found is None:
        raise UsageError("model", name, f"one of {', '.join(PRESETS)}")
    return found


def causal(spec: ModelSpec) -> ModelSpec:
    """A spec whose images are causal; raises UsageError where its family has none."""
    return family_of(spec).causal(spec)


def prompt_for(layout: Layout, spec: ModelSpec, seed: int = 0, field: str = "layout") -> Prompt:
    """The prompt of a layout, which an error calls ``field``; the same arguments give the same prompt, and two seeds other words
    and pictures. Two layouts that begin alike have prompts that begin alike.

    Raises:
        UsageError: the model does not take the layout.
    """
    return family_of(spec).prompt_for(layout, spec, seed, field)


PERIOD, RUN, ANOTHER = 3, 4, 8
"""What repeats itself does so after so many words, or stands so often in a row, and has another one in each place of so many."""


def continued(prompt: Prompt, spec: ModelSpec, steps: int, seed: int = 0, *, drafter: str = "") -> Prompt:
    """A prompt that both sides go on from with as many words as ``steps``, which ``seed`` draws. Where there is a ``drafter`` they
    are such that it is right, and wrong at times: `PERIOD` words again and again for n-grams, each word `RUN` times for one that
    drafts the last word again (`harness.families.gemma4.assistant`), but for `ANOTHER`.

    Raises:
        UsageError: the model does not take that many.
    """
    check_steps(steps, len(prompt.token_ids), spec)
    if not steps:
        return prompt
    words = prompt_for(Layout((Segment("t", steps),)), spec, seed ^ CONTINUATION)
    own = words.token_ids
    foretold = {
        "": range(steps),
        NGRAM: [at % PERIOD for at in range(steps)],
        MTP: [at - at % RUN for at in range(steps)],
    }
    places = [at if at % ANOTHER == ANOTHER - 1 else foretold[drafter][at] for at in range(steps)]
    return replace(prompt, continuation=tuple(own[place] for place in places))


def build(spec: ModelSpec, cache: Path) -> Path:
    """The checkpoint directory of ``spec`` under ``cache``, written now unless it is there: by its family's code, with this
    transformers."""
    return family_of(spec).build(spec, cache)
