"""Requests that are served beside the one that is verified, or before it, as they are written: a layout, the seed of its words and
pictures where it is not the one that its place gives, that of its pictures alone, and whether it has the LoRA adapter where
``--adapter`` says otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.compare.setting import Setting
from harness.errors import UsageError
from harness.families.registry import continued, prompt_for
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt
from harness.prompts.scenario import NOBODY

SEED, PICTURES = "seed=", "pictures="
ADAPTER = {" adapter=yes": True, " adapter=no": False}
LARGEST = 2**32 - 1


@dataclass(frozen=True)
class Written:
    """A request: ``seed`` is of its words and pictures, ``pictures`` of its pictures alone; None where it has none of its own.
    ``adapted`` says that it has the adapter, or has not; None where ``--adapter`` says it."""

    layout: Layout
    seed: int | None = None
    pictures: int | None = None
    adapted: bool | None = None

    def __str__(self) -> str:
        seeds = ((SEED, self.seed), (PICTURES, self.pictures))
        words = " ".join([str(self.layout), *(f"{name}{seed}" for name, seed in seeds if seed is not None)])
        return words + next((mark for mark, has in ADAPTER.items() if has is self.adapted), "")

    def prompt(self, spec: ModelSpec, seed: int, field: str) -> Prompt:
        """Its prompt, with ``seed`` where it has none of its own; raises as `prompt_for`."""
        prompt = prompt_for(self.layout, spec, seed if self.seed is None else self.seed, field)
        if self.pictures is None:
            return prompt
        return replace(prompt, items=prompt_for(self.layout, spec, self.pictures, field).items)


def written(layout: Layout | str, seed: int, setting: Setting) -> str:
    """A request with a seed of its own, ``t5 i9 seed=3``, that is served as the one that is verified under ``setting``."""
    adapted = None if setting.scenario.adapter == NOBODY else setting.scenario.adapted
    return str(Written(Layout.parse(str(layout)), seed, adapted=adapted))


def with_other_pictures(layout: Layout | str) -> str:
    """A request with the words of a layout and other pictures, where it has any: ``t5 i9 pictures=1``."""
    found = Layout.parse(str(layout))
    return str(Written(found, pictures=None if set(found.kinds) <= {"text"} else 1))


def parsed(text: str, field: str = "mate") -> Written:
    """A request as it is written; ``field`` is what an error calls it.

    Raises:
        UsageError: it is not written in that way.
    """
    adapted = next((has for mark, has in ADAPTER.items() if text.endswith(mark)), None)
    layout, seeds = text if adapted is None else text.rpartition(" ")[0], {}
    for name in (PICTURES, SEED):
        front, _, last = layout.rpartition(" ")
        if last.startswith(name):
            layout, seeds[name] = front, _seed(last.removeprefix(name), text, field)
    found = Written(Layout.parse(layout, field), seeds.get(SEED), seeds.get(PICTURES), adapted)
    if found.pictures is not None and set(found.layout.kinds) <= {"text"}:
        raise UsageError(field, text, f"{PICTURES}N draws pictures, and this layout has none")
    return found


def _seed(digits: str, text: str, field: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10 and int(digits) <= LARGEST):
        allowed = f"a layout, then {SEED}N and {PICTURES}N if they are wanted, each 0 to {LARGEST}"
        raise UsageError(field, text, allowed)
    return int(digits)


def prompts(setting: Setting, spec: ModelSpec, seed: int) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts that are added before the request whose seed is ``seed``, and those after it, continued as it is.

    Raises:
        UsageError: as `parsed` and `prompt_for`.
    """
    scenario = setting.scenario
    every = []
    for place, text in enumerate((*scenario.mates, *scenario.mates_after), start=1):
        field = "mate" if place <= len(scenario.mates) else "mate-after"
        mate = parsed(text, field)
        if mate.adapted is not None and scenario.adapter == NOBODY:
            raise UsageError(
                field, text, "adapter=yes and adapter=no with --adapter alone: no other engine has adapters"
            )
        own = seed + place if mate.seed is None else mate.seed
        every.append(continued(mate.prompt(spec, own, field), spec, scenario.decode, own, drafter=scenario.drafter))
    return every[: len(scenario.mates)], every[len(scenario.mates) :]


def history(setting: Setting, spec: ModelSpec, seed: int) -> list[Prompt]:
    """The prompts that are served before the batch: they begin as the request whose seed is ``seed`` where their layouts do.

    Raises:
        UsageError: as `parsed` and `prompt_for`.
    """
    every = [parsed(text, "before") for text in setting.scenario.before]
    for one in every:
        if one.adapted is not None:
            raise UsageError("before", str(one), "without adapter=: what is served before the batch has no adapter")
    return [one.prompt(spec, seed, "before") for one in every]


def adapted(setting: Setting) -> tuple[bool | None, ...]:
    """Whether each mate, those before the request first, has the adapter; None where ``--adapter`` says it."""
    scenario = setting.scenario
    return tuple(parsed(text).adapted for text in (*scenario.mates, *scenario.mates_after))


def seeded(setting: Setting, seed: int) -> Setting:
    """The setting whose mates all have seeds of their own: those that follow ``seed`` where they have none."""
    scenario = setting.scenario
    every = [
        with_seed(text, seed + place) for place, text in enumerate((*scenario.mates, *scenario.mates_after), start=1)
    ]
    before = len(scenario.mates)
    return setting.with_(mates=tuple(every[:before]), mates_after=tuple(every[before:]))


def with_seed(text: str, seed: int) -> str:
    """A request as it is written, with this seed where it has none of its own."""
    found = parsed(text, "before")
    return str(found if found.seed is not None else replace(found, seed=seed))
