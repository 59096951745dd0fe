"""Requests that are served in the batch of the one that is verified, as they are written: a layout, and the seed of its
words and pictures where it is not the one that its place gives."""

from __future__ import annotations

from harness.compare.setting import Setting
from harness.errors import UsageError
from harness.families.registry import prompt_for
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt

SEED = "seed="
LARGEST = 2**32 - 1


def written(layout: Layout | str, seed: int) -> str:
    """A mate with a seed of its own: ``t5 i9 seed=3``."""
    return f"{layout} {SEED}{seed}"


def parsed(text: str) -> tuple[Layout, int | None]:
    """The layout of a mate, and its seed if it has one of its own.

    Raises:
        UsageError: it is not written in that way.
    """
    layout, _, last = text.rpartition(" ")
    if not last.startswith(SEED):
        return Layout.parse(text, "mate"), None
    digits = last.removeprefix(SEED)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10 and int(digits) <= LARGEST):
        raise UsageError("mate", text, f"a layout, or a layout and {SEED}0 to {SEED}{LARGEST}")
    return Layout.parse(layout, "mate"), int(digits)


def prompts(setting: Setting, spec: ModelSpec, seed: int) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts that are added before the request whose seed is ``seed``, and those after it.

    Raises:
        UsageError: as `parsed` and `prompt_for`.
    """
    every = []
    for place, text in enumerate((*setting.scenario.mates, *setting.scenario.mates_after), start=1):
        layout, own = parsed(text)
        every.append(prompt_for(layout, spec, seed + place if own is None else own, field="mate"))
    return every[: len(setting.scenario.mates)], every[len(setting.scenario.mates) :]
