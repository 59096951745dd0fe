"""The reference driver: transformers' models, with the mask of every attention call recovered by probing.

Run as ``PYTHON -m harness.references.transformers.driver READ_FD WRITE_FD``.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from functools import partial

import torch

from harness.drivers import channel, shared_gpu
from harness.drivers.messages import (
    Build,
    Built,
    Captured,
    Done,
    LoadReference,
    Prepare,
    Prepared,
    ReferenceModel,
    Request,
    RunReference,
    Stored,
)
from harness.errors import UnsupportedPrompt
from harness.families.registry import build
from harness.prompts.prompt import Prompt
from harness.references.transformers import calling, memory, preparing
from harness.references.transformers.group import Group, by_layer
from harness.references.transformers.loading import Loaded, load

PAIRS_TOGETHER = 1 << 22
"""Query and key pairs of the prompts that are run together: their masks and the outputs of their probes are held at once."""


class Reference:
    """Answers for the checkpoint that is loaded, which is replaced whole or not at all; ``told`` hears how far it is."""

    def __init__(self, told: Callable[[str], None] = print) -> None:
        self.loaded: Loaded | None = None
        self._told = told

    def build(self, request: Build) -> Built:
        return Built(str(build(request.spec, request.cache)))

    def load(self, request: LoadReference) -> Done:
        """What was loaded goes first, since there may be no room for both; after a failure nothing is."""
        self.loaded = None
        gc.collect()
        memory.begin()
        self.loaded = load(request.model, request.device, self._told)
        return Done()

    @torch.no_grad()
    def run(self, request: RunReference) -> channel.Later[Captured]:
        """Capture prompts.

        Raises:
            RuntimeError: another model is loaded than is asked for.
            UnsupportedPrompt: a prompt is continued, and the model is run layer by layer.
        """
        loaded = self._loaded(request.model)
        if loaded.offloaded and (request.caching or any(prompt.continuation for prompt in request.prompts)):
            raise UnsupportedPrompt("the reference's own decode is not run layer by layer, nor is it with its cache")
        captures: dict[int, Stored] = {}
        groups = []
        for number, places in enumerate(together(request.prompts)):
            directory = request.out / str(number)
            groups.append(Group(loaded, [request.prompts[place] for place in places], directory, request))
            captures.update({place: Stored(directory, index) for index, place in enumerate(places)})
        layers = loaded.offloaded
        finishing = by_layer(groups, layers, self._told) if layers else [group.run() for group in groups]
        answer = Captured(tuple(captures[place] for place in range(len(request.prompts))))
        if layers:
            loaded.files.check()

        def finish() -> None:
            for one in finishing:
                one()
            finishing.clear()
            shared_gpu.give_back(loaded.device)

        return channel.Later(answer, finish)

    @torch.no_grad()
    def prepare(self, request: Prepare) -> Prepared:
        """Prepare prompts for another reference; raises as `run`."""
        loaded = self._loaded(request.model)
        each = []
        for place, prompt in enumerate(request.prompts):
            arguments, made = calling.arguments(loaded, [prompt])
            file = request.out / f"{place}.safetensors"
            each.append(preparing.prepared(loaded, arguments, made, partial(calling.last_forward, loaded), file))
        facts = loaded.facts
        return Prepared(tuple(each), facts.after, facts.special, facts.loaded.checkpoint)

    def _loaded(self, model: ReferenceModel) -> Loaded:
        if self.loaded is None or self.loaded.of != model:
            raise RuntimeError(f"{model} was asked for, and {self.loaded.of if self.loaded else 'nothing'} is loaded")
        return self.loaded


def together(prompts: Sequence[Prompt]) -> list[list[int]]:
    """Which prompts are run together: those of one length with text and images only, up to `PAIRS_TOGETHER`."""
    groups: dict[object, list[list[int]]] = {}
    for place, prompt in enumerate(prompts):
        length = len(prompt.token_ids) + len(prompt.continuation)
        plain = prompt.text is None and all(item.modality == "image" for item in prompt.items)
        found = groups.setdefault((length, len(prompt.continuation)) if plain else (place,), [[]])
        if found[-1] and (len(found[-1]) + 1) * length**2 > PAIRS_TOGETHER:
            found.append([])
        found[-1].append(place)
    return [places for found in groups.values() for places in found]


def handlers(reference: Reference) -> dict[type[Request], channel.Handler]:
    """What each request is answered by."""
    return {
        Build: reference.build,
        LoadReference: reference.load,
        Prepare: reference.prepare,
        RunReference: reference.run,
    }


def main() -> None:
    torch.manual_seed(0)
    telling = channel.Telling()
    channel.serve(handlers(Reference(telling)), int(sys.argv[1]), int(sys.argv[2]), telling)


if __name__ == "__main__":
    main()
