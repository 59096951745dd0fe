"""What a server's workers can be asked by `endpoint`, and by nobody else: vLLM has no route to them unless it is in dev mode."""

from __future__ import annotations

import atexit
import json
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

import torch

from harness.engines.vllm import loaded, releases
from harness.engines.vllm.attach.guest import Guest
from harness.engines.vllm.attach.observation import Observation
from harness.engines.vllm.attach.protocol import LEASE
from harness.engines.vllm.cpu import backends
from harness.engines.vllm.observer import hooks

backends.register()
loaded.note_before_processing(forgiven=Exception)

METHODS = ("facts", "begin", "collect", "saved", "path", "left", "keep", "end")


class Attached:
    """One worker's side of an observation. The observer's hooks are laid when the first one begins."""

    def __init__(self, worker) -> None:
        self.worker = worker
        self.ranks = worker.vllm_config.parallel_config.world_size
        self.guest: Guest | None = None
        self.current: Observation | None = None
        self.saving: int | None = None
        atexit.register(self._remove)

    def facts(self) -> dict:
        """What is known of this worker before anything is observed."""
        layers = hooks.attention_layers(self.worker.model_runner)
        versions = {"vllm": releases.version(), "serving torch": str(torch.__version__)}
        for name in ("triton", "transformers"):
            module = sys.modules.get(name)
            if module is not None:
                versions[f"serving {name}"] = str(module.__version__)
        return {
            "runner": "v2" if releases.is_v2(self.worker.model_runner) else "v1",
            "implementations": sorted({releases.implementation(layer.impl) for layer in layers.values()}),
            "versions": versions,
            "weights": getattr(releases.model_of(self.worker), "harness_weights", []),
        }

    def begin(self, ticket: str, names: list, longest: int | None, layers: list, positions: list, masks: bool) -> str:
        """Why it cannot begin, if it cannot."""
        if self.current:
            return f"another observation is under way; it ends with its client, or {LEASE:.0f} s after one that is gone"
        if self.guest is None:
            self.guest = Guest(self.worker)
        self.current = Observation(ticket, names, Path(tempfile.mkdtemp(prefix="harness-attach-")))
        self.guest.expect(names, longest, layers, positions, masks=masks)
        return ""

    def collect(self, ticket: str) -> dict | None:
        """What was seen; None without such an observation."""
        observation, guest = self._of(ticket), self.guest
        if observation is None or guest is None:
            return None
        stacks = {
            str(observation.stack(place)): [name]
            for place, name in enumerate(observation.names)
            if name in guest.requests
        }
        found = guest.collect(stacks, self.ranks, masks=guest.masks)
        self.saving = found["collected"]
        places = {str(observation.stack(place)): str(place) for place in range(len(observation.names))}
        return found | {"stacks": {places[where]: stack for where, stack in found["stacks"].items()}}

    def saved(self, ticket: str) -> bool:
        """Whether the files of what was collected are whole."""
        guest = self.guest
        if self._named(ticket) is None or guest is None or self.saving is None:
            return True
        if not guest.is_saved(self.saving):
            return False
        saving, self.saving = self.saving, None
        guest.saved(saving)
        return True

    def path(self, ticket: str, place: int) -> str:
        """The file of the request at ``place``; empty if there is none."""
        observation = self._of(ticket)
        if observation is None or not 0 <= place < len(observation.names):
            return ""
        name = "capture" if self.ranks == 1 else f"rank{self.worker.rank}"
        path = observation.stack(place) / f"{name}.safetensors"
        return str(path) if path.is_file() else ""

    def left(self, ticket: str) -> float:
        """In how many seconds an observation is over that nobody goes on with; 0 where it is, and then it is forgotten."""
        observation = self._named(ticket)
        if observation is None:
            return 0.0
        left = observation.left
        if not left:
            self._forget()
        return left

    def keep(self, ticket: str) -> bool:
        """Whether there is such an observation, which somebody goes on with."""
        return self._of(ticket) is not None

    def end(self, ticket: str) -> None:
        if self._of(ticket):
            self._forget()

    def _named(self, ticket: str) -> Observation | None:
        """The observation under way, if that is its ticket."""
        return self.current if self.current and self.current.ticket == ticket else None

    def _of(self, ticket: str) -> Observation | None:
        """As `_named`, by a client that goes on with it."""
        observation = self._named(ticket)
        if observation:
            observation.touch()
        return observation

    def _forget(self) -> None:
        guest, over, saving = self.guest, self.current, self.saving
        self.current = self.saving = None
        if over and guest and saving is not None:
            guest.unwanted(saving, over.within)  # requests do not wait for the disk
        elif over:
            shutil.rmtree(over.within, ignore_errors=True)
        if guest:
            guest.begin({}, 0, [], {}, {}, masks=True)

    def _remove(self) -> None:
        if self.current is not None:
            shutil.rmtree(self.current.within, ignore_errors=True)


class AttachExtension:
    """Mixed into vLLM's worker class (`worker_extension_cls`). Every answer is JSON: what vLLM cannot send ends its engine, and
    of what is raised here its API says nothing."""

    def harness_attach(self, method: str, *arguments: object) -> str:
        """What a method of `Attached` answers, as ``{"answer"}``, or why it cannot, as ``{"failed"}``."""
        if method not in METHODS:
            raise ValueError(f"{method}: one of {', '.join(METHODS)}")
        try:
            if not hasattr(self, "_harness_attached"):
                self._harness_attached = Attached(self)
            return json.dumps({"answer": getattr(self._harness_attached, method)(*arguments)})
        except Exception as error:  # noqa: BLE001 - the engine goes on, whatever fails here
            traceback.print_exc()
            return json.dumps({"failed": f"{type(error).__name__}: {error}"})
