"""What `harness run` is asked to verify: exactly one of a layout, a case, a drawn picture, and a text with images."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.compare.known import Declared
from harness.compare.setting import Setting
from harness.errors import UsageError
from harness.families import checkpoint, pictures, sounds, videos
from harness.families.base import Family
from harness.families.beside import has_template
from harness.families.drawn import check_steps
from harness.families.registry import continued, family_of, prompt_for
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt
from harness.verification import catalogue, mates

WAYS = "give exactly one of layout, case, picture, and text with images, videos and audio"
QUESTION = "What is shown here ?"
MARKS = 2
"""Tokens around the soft ones of an image or a clip."""


@dataclass(frozen=True)
class Files:
    """What goes through both processors with a text, by the options that name it; in a ``chat`` the text is a user's message."""

    image: Sequence[str] = ()
    video: Sequence[str] = ()
    audio: Sequence[str] = ()
    chat: bool = False

    @property
    def named(self) -> dict[str, str | None]:
        """By the option, what was given."""
        return {name: " ".join(getattr(self, name)) or None for name in ("image", "video", "audio")}


@dataclass(frozen=True)
class Asked:
    """A case on a model; ``tokens`` are the lengths of the prompts that are known beforehand: its own, then its mates'; ``before``
    those of the requests before them; ``items`` is the most of each modality that one of all these has."""

    case: Case
    spec: ModelSpec
    declared: list[Declared]
    tokens: tuple[int, ...]
    before: tuple[int, ...]
    items: Mapping[str, int]


def asked(
    layout: str | None,
    case: str | None,
    picture: str | None,
    files: Files,
    text: str | None,
    model: str,
    weights: str | None,
    layers: int | None,
    window: int | None,
    seed: int,
    setting: Setting,
    known: list[str],
    cases: str,
) -> Asked:
    """What the options name, on the model that they name; ``known`` says where divergences are declared.

    Raises:
        UsageError: they name none or several, or one that the model does not take.
        EnvironmentFailure: as `harness.families.checkpoint.model`.
    """
    if cases != catalogue.OWN and case is None and catalogue.HERE not in known:
        raise UsageError("cases", cases, "with --case or --known alone, which heed a catalogue")
    heeded = catalogue.declared(known, cases)
    what, declared = named(layout, case, picture, files, text, model, cases)
    check_drawn(what, seed, setting)
    spec = checkpoint.model(what.model, weights, layers)
    what = _worded(replace(what, seed=seed), family_of(spec))
    spec = spec if window is None else spec.with_(window=window)
    _check_files(what, files, spec)
    own = _length(what, spec, files, setting.scenario.decode)
    history = mates.history(setting, spec, seed)
    beside = [prompt for prompts in mates.prompts(setting, spec, seed) for prompt in prompts]
    tokens = (own, *map(_tokens, beside)) if own else ()
    counted = [_files(what, spec), *(_items(prompt) for prompt in (*history, *beside))]
    items = {name: max(one[name] for one in counted) for one in counted for name in one}
    before = tuple(map(_tokens, history))
    return Asked(what, spec, list(dict.fromkeys([*heeded, *declared])), tokens, before, items)


def check_drawn(case: Case, seed: int, setting: Setting) -> None:
    """Raise UsageError for a seed that draws nothing."""
    scenario = setting.scenario
    if seed and not (case.layout or scenario.mates or scenario.mates_after or scenario.before or scenario.decode):
        raise UsageError(
            "seed", seed, "with a layout alone: it draws words and pictures, and here all of them are given"
        )


def _tokens(prompt: Prompt) -> int:
    return len(prompt.token_ids) + len(prompt.continuation)


def _items(prompt: Prompt) -> Counter[str]:
    return Counter(item.modality for item in prompt.items)


def _files(case: Case, spec: ModelSpec) -> Counter[str]:
    """How many items of each modality the case's own prompt has."""
    if case.layout:
        return _items(prompt_for(Layout.parse(case.layout), spec))
    return Counter({name: len(some) for name, some in case.files.items() if some}) + Counter(image=bool(case.picture))


def named(
    layout: str | None,
    case: str | None,
    picture: str | None,
    files: Files,
    text: str | None,
    model: str,
    cases: str,
) -> tuple[Case, list[Declared]]:
    """The case that the options name, on whatever model it will be verified, and what its catalogue declares.

    Raises:
        UsageError: they name none or several.
    """
    ways = {"layout": layout, "case": case, "picture": picture, **files.named, "text": text}
    given = {name: value for name, value in ways.items() if value is not None}
    processed = given and set(given) <= {*files.named, "text"}
    if len(given) != 1 and not processed:
        fields = " and ".join(given) or ", ".join(ways)
        raise UsageError(fields, ", ".join(given.values()) or "none of them", WAYS)
    if files.chat and not processed:
        raise UsageError(
            "chat", ", ".join(given.values()), "with a text, images, videos or audio: a message is made of these"
        )
    if case is not None:
        return _of_catalogue(case, model, cases)
    if picture is not None:
        return Case("run", "a picture", model=model, picture=_size(picture)), []
    if layout is not None:
        return Case("run", layout, layout=str(Layout.parse(layout)), model=model), []
    images, videos, clips = (tuple(map(os.path.abspath, some)) for some in (files.image, files.video, files.audio))
    whole = Case("run", text or "", model=model, images=images, text=text, chat=files.chat, videos=videos, clips=clips)
    return whole, []


def _worded(case: Case, family: Family) -> Case:
    """A case whose files have a text that stands around them.

    Raises:
        UsageError: it is none that the family's processors take.
    """
    if case.layout or case.picture:
        return case
    for modality, some in case.files.items():
        if some and modality not in family.words:
            raise UsageError(modality, some[0], f"left out: {family.title} takes none")
    places = {modality: 0 if case.chat else len(case.files[modality]) for modality in family.words}
    text = case.text
    if text is None:
        words = [family.words[modality] for modality, count in places.items() for _ in range(count)]
        text = " ".join([*words, QUESTION])
    family.check_text(text, places)
    return replace(case, title=case.title or text, text=text)


def _check_files(case: Case, files: Files, spec: ModelSpec) -> None:
    """Raise UsageError for more files than a request may have, or a message to a model without a chat template."""
    limits = family_of(spec).limits(spec)
    for modality, some in case.files.items():
        if some and modality not in limits:
            raise UsageError(modality, some[0], f"left out: {spec.name} takes none")
        if len(some) > limits.get(modality, 0):
            raise UsageError(modality, f"{len(some)} files", f"at most {limits[modality]} in a prompt")
    if case.chat and not (spec.source and has_template(spec.source)):
        why = f"{spec.name} has none: presets do not, and other checkpoints have it in chat_template.jinja"
        raise UsageError("text", str(case.text), f"a message for a checkpoint with a chat template; {why}")


def _of_catalogue(name: str, model: str, cases: str) -> tuple[Case, list[Declared]]:
    there = catalogue.load(cases)
    found = there.case(name)
    if model not in ("tiny", found.model):
        raise UsageError(
            "model", model, f"the case {name} is one of the model {found.model}; give its layout for another one"
        )
    return found, list(there.declared)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9][0-9]{0,9})x([1-9][0-9]{0,9})", text)
    if not match:
        raise UsageError("picture", text, "WIDTHxHEIGHT in pixels, such as 48x16")
    size = int(match[1]), int(match[2])
    pictures.check_size("picture", text, size)
    return size


def _length(case: Case, spec: ModelSpec, files: Files, steps: int) -> int | None:
    """The tokens of the case's prompt, which has these ``files``, and of the ``steps`` that continue it; None where only the
    checkpoint's own tokenizer can tell.

    Raises:
        UsageError: the model does not take it.
    """
    if case.layout:
        return len(continued(prompt_for(Layout.parse(case.layout), spec), spec, steps).token_ids) + steps
    named = [("image", path, pictures.size_of(path)) for path in files.image]
    named += [("picture", "{}x{}".format(*case.picture), case.picture)] if case.picture else []
    family = family_of(spec)
    seen = [(path, videos.looked_at(path)) for path in files.video]
    soft = [family.clip_tokens(path, len(sounds.samples_of(path, family.rate(spec))), spec) for path in files.audio]
    cut = family.pictures(spec)
    if cut is None:
        return None
    soft += [family.soft_tokens(field, name, size, cut) for field, name, size in named]
    text = case.text if case.text is not None else family.picture_text
    if spec.source:
        return None
    whole = [family.video_tokens(path, video.frames, video.size, spec) for path, video in seen]
    tokens = family.text_tokens(text, [*soft, *(tokens - MARKS for tokens in whole)], spec)
    check_steps(steps, tokens, spec)
    return tokens + steps
