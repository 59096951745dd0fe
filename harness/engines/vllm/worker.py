"""What vLLM loads into each worker process before the model (`worker_extension_cls`)."""

from __future__ import annotations

import os

import torch

from harness.drivers import shared_gpu
from harness.engines.vllm import changes, loaded, releases
from harness.engines.vllm.blocks import fill
from harness.engines.vllm.cpu import backends
from harness.engines.vllm.observer import Observer
from harness.errors import OverlayRefused

backends.register()
loaded.note_before_processing()
changes.keep()


class ObserverExtension:
    """Mixed into vLLM's worker class (`worker_extension_cls`), so that it works in every process layout."""

    def harness_install(self) -> dict:
        self.harness_observer = Observer(self)
        observer = self.harness_observer
        return {
            "runner": "v2" if releases.is_v2(observer.runner) else "v1",
            "implementations": sorted({releases.implementation(layer.impl) for layer in observer.layers.values()}),
            "process": os.getpid(),
            "weights": getattr(observer.model, "harness_weights", []),
        }

    def harness_memory(self) -> int:
        """Peak bytes of GPU memory that tensors have taken in this process; 0 on a CPU."""
        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0

    def harness_begin(
        self, requests: dict, longest: int, layers: list, logits_at: dict, given: dict, masks: bool
    ) -> None:
        self.harness_observer.begin(requests, longest, layers, logits_at, given, masks=masks)

    def harness_fill(self, blocks: list, count: int, value: float) -> None:
        for layer in self.harness_observer.layers.values():
            fill(releases.kv_cache(layer), blocks, count, value)

    def harness_collect(self, stacks: dict, ranks: int, masks: bool) -> dict:
        return self.harness_observer.collect(stacks, ranks, masks=masks)

    def harness_saved(self, collected: int) -> None:
        self.harness_observer.saved(collected)
        shared_gpu.give_back(self.harness_observer.runner.device)

    def harness_overlay(self, names: list) -> str:
        """Lay overlays; why one was refused, or nothing: the class of an exception does not leave a worker's process."""
        from harness.engines.vllm import overlays

        if not hasattr(self, "harness_changes"):
            self.harness_changes = overlays.Changes()
        try:
            overlays.lay(names, self, releases.version(), self.harness_changes)
        except OverlayRefused as error:
            return str(error)
        return ""

    def harness_changeable_tensors(self, checkpoint: str) -> dict:
        self.harness_changeable = changes.Changeable(releases.model_of(self))
        return self.harness_changeable.facts(checkpoint)

    def harness_change(self, name: str, by: float) -> None:
        self.harness_changeable.change(name, by)
