"""What a reference answers that is given its prompts as transformers prepares them. NumPy and safetensors are all that this needs.

Checkpoints are built, and soft tokens made, by transformers in a driver of its own (`harness.references.transformers.preparing`).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from harness.captures import stack
from harness.captures.facts import ATTENTION_VALUES, Facts, HeadFacts, LayerFacts, PromptFacts
from harness.captures.facts import Loaded as LoadedFacts
from harness.captures.selection import chosen
from harness.drivers import channel
from harness.drivers.messages import (
    Captured,
    Done,
    LoadReference,
    Prepared,
    PreparedPrompt,
    ReferenceModel,
    Request,
    RunReference,
    Stored,
)
from harness.errors import UnsupportedPrompt
from harness.prompts.layout import TYPES

IMAGE, VIDEO, AUDIO = (TYPES[kind] for kind in ("image", "video", "audio"))
"""The types of soft tokens."""
TRUTH = {"float32": "float64", "bfloat16": "float32"}
"""By the dtype of a model that of its truth."""
SCORES = 1 << 29
"""The most scores of an attention call, which holds one for every pair and head: 2 GiB in float32."""


@dataclass
class Answer:
    """What a model made of a prompt of N tokens: by their name in captures ``logits`` (N, V), and by the index of a layer its
    ``masks``, bit-packed uint8 (KV head groups, N, bytes), the ``attention`` output (N, heads * head size) and the ``hidden`` state
    after it (N, hidden size)."""

    logits: dict[str, np.ndarray] = field(default_factory=dict)
    masks: dict[int, np.ndarray] = field(default_factory=dict)
    attention: dict[int, np.ndarray] = field(default_factory=dict)
    hidden: dict[int, np.ndarray] = field(default_factory=dict)


class Model(Protocol):
    """A checkpoint that is loaded in the serving dtype and, as truth, one precision up. ``of`` is what was asked for, ``facts`` say
    what it was made from, ``versions`` by which distributions; ``layer_types`` has one a layer."""

    @property
    def of(self) -> ReferenceModel: ...

    @property
    def facts(self) -> LoadedFacts: ...

    @property
    def head(self) -> HeadFacts: ...

    @property
    def layer_types(self) -> Sequence[str]: ...

    @property
    def versions(self) -> dict[str, str]: ...

    def check(self, prompt: PreparedPrompt) -> None:
        """Raise UnsupportedPrompt for what the model would silently take for something else, or has no room for."""

    def answer(self, prompt: PreparedPrompt, layers: Sequence[int]) -> Answer:
        """What it makes of a prompt, with the masks of ``layers``, or of all where there are none.

        Raises:
            ProbeError: the mask of a layer cannot be told.
        """


class Answers:
    """Answers for the checkpoint that is loaded, which is replaced whole or not at all; ``load`` loads one on a device."""

    def __init__(self, load: Callable[[ReferenceModel, str], Model]) -> None:
        self._load = load
        self.loaded: Model | None = None

    def load(self, request: LoadReference) -> Done:
        """What was loaded goes first, since there may be no room for both; after a failure nothing is."""
        self.loaded = None
        gc.collect()
        self.loaded = self._load(request.model, request.device)
        return Done()

    def run(self, request: RunReference) -> Captured:
        """Capture prompts, one after another.

        Raises:
            UnsupportedPrompt: as `Model.check`; then none is captured.
            ProbeError: as `Model.answer`.
            RuntimeError: another model is loaded than is asked for, or nothing was prepared.
        """
        if self.loaded is None or self.loaded.of != request.model or request.prepared is None:
            raise RuntimeError(
                f"{request.model} was asked for with what was prepared for it, and {self.loaded and self.loaded.of} is loaded"
            )
        if request.prepared.content != self.loaded.facts.checkpoint:
            raise RuntimeError(f"{request.model.checkpoint} is not the checkpoint that prompts were prepared from")
        for prompt in request.prepared.prompts:
            self.loaded.check(prompt)
        return Captured(
            tuple(
                Stored(_capture(self.loaded, prompt, request.prepared, request.out / str(place), request), 0)
                for place, prompt in enumerate(request.prepared.prompts)
            )
        )

    @property
    def handlers(self) -> dict[type[Request], channel.Handler]:
        """What each request is answered by."""
        return {LoadReference: self.load, RunReference: self.run}


def _capture(model: Model, prompt: PreparedPrompt, prepared: Prepared, directory: Path, asked: RunReference) -> Path:
    start = time.perf_counter()
    rows = chosen(asked.positions, len(prompt.token_ids))
    answer = model.answer(prompt, asked.layers)
    arrays = {name: one[None, rows] for name, one in answer.logits.items()}
    layers = sorted(answer.masks)
    for index in layers:
        arrays[f"mask.{index}"] = answer.masks[index][None]
        if answer.attention[index].size <= ATTENTION_VALUES:
            arrays[f"attention.{index}"] = answer.attention[index][None]
        arrays[f"hidden.{index}"] = answer.hidden[index][None]
    halves = [name for name, array in arrays.items() if array.dtype.name == "bfloat16"]
    arrays |= {name: arrays[name].view(np.uint16) for name in halves}
    facts = Facts(
        layers=tuple(LayerFacts(index, model.layer_types[index]) for index in layers),
        logits_at=tuple(rows),
        versions=model.versions,
        seconds={"reference": time.perf_counter() - start},
        loaded=model.facts,
        after=prepared.after,
        head=model.head,
        special=prepared.special,
    )
    own = PromptFacts(prompt.token_ids, prompt.token_types, processed=prompt.processed)
    stack.write(directory, arrays, facts, [own], halves)
    return directory


def check_scores(reference: str, prompt: PreparedPrompt, heads: int) -> None:
    """Refuse a prompt whose scores there is no room for.

    Raises:
        UnsupportedPrompt: an attention call would hold more than `SCORES`.
    """
    tokens = len(prompt.token_ids)
    if heads * tokens**2 > SCORES:
        raise UnsupportedPrompt(
            f"the reference {reference} takes at most {int((SCORES / heads) ** 0.5)} tokens of this model, and the prompt has "
            f"{tokens}: its attention holds a score for every pair and each of {heads} heads"
        )


def wanted(layers: Sequence[int], every: Mapping[int, object]) -> list[int]:
    """Those of ``every`` layer that are asked for: all where none is named."""
    return [index for index in sorted(every) if not layers or index in layers]
