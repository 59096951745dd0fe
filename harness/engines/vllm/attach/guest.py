"""An observer in an engine that serves others: it looks at nothing but the requests that it was told to, and breaks nothing."""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from harness.captures.facts import ProcessedFacts
from harness.captures.selection import chosen
from harness.engines.vllm import releases
from harness.engines.vllm.attach.sparse import SparseProber
from harness.engines.vllm.observer import Observer
from harness.engines.vllm.observer.probing import Call, Probed, Prober
from harness.engines.vllm.observer.stacks import Pieces
from harness.engines.vllm.processing import facts_by_modality
from harness.errors import UsageError
from harness.families.registry import of_type
from harness.files import typed


class Guest(Observer):
    """Observes requests from when they arrive, by the names that they will have. What fails is a `failure` that `collect` tells,
    and never an exception in the engine."""

    def expect(
        self, names: Sequence[str], longest: int | None, layers: list[int], positions: list[int], *, masks: bool
    ) -> None:
        """Observe the requests ``names`` until `collect`, with the masks of ``layers`` and the logits at ``positions``, or all
        where there are none, or without ``masks`` the logits that are sampled from alone. No request has more than ``longest``
        tokens; without it, than the one that comes first."""
        self.begin({}, longest or 0, layers, {}, {}, masks=masks)
        self.awaited.update(names)
        self.asked_for += positions

    def begin(self, *args, masks: bool) -> None:
        super().begin(*args, masks=masks)
        self.masks = masks
        self.awaited: set[str] = set()
        self.asked_for: list[int] = []
        self.prompts: dict[str, dict] = {}
        self.concerned = False
        """This step computes something of an observed request."""
        self.failure = ""

    def collect(self, stacks: dict[str, list[str]], ranks: int, *, masks: bool) -> dict:
        failure, prompts = self.failure, self.prompts
        answer = super().collect({} if failure else stacks, ranks, masks=masks)
        return answer | {"failure": failure or answer["failure"], "prompts": prompts}

    def unwanted(self, collected: int, directory: Path) -> None:
        """Remove the ``directory`` of one call of `collect` when everything of it is on disk, or could not be written."""
        del self.saving[collected]
        self.behind.submit(shutil.rmtree, directory, ignore_errors=True)

    def beside(self) -> Prober:
        self.sparse = SparseProber(*releases.kv_blocks(self.runner))
        return self.sparse

    def hook(self, work: Callable[..., None]) -> Callable[..., None]:
        computes_together = work == self._after
        always = work == self._planned

        def called(*args) -> None:
            if not always and not self.concerned:
                return
            if self.failure and not (always or computes_together):
                return
            try:
                work(*args)
            except Exception as error:  # noqa: BLE001 - the engine goes on, whatever fails here
                traceback.print_exc()
                self.failure = self.failure or f"serving, {type(error).__name__}: {error}"
            if self.failure:
                self._drop()

        return called

    def _drop(self) -> None:
        """Give back the memory of what is not wanted any more: the engine may need it."""
        self.pieces, self.probed = Pieces(), Probed()
        self.prober.forget()

    def _planned(self, steps: dict[str, tuple[int, int]], new: dict[str, Any]) -> None:
        super()._planned(steps, new)
        self.concerned = False
        if not self.awaited and not self.requests:
            return
        for req_id, request in new.items():
            self._arrived(req_id, request)
        self.concerned = any(releases.request_name(req_id, self.requests) is not None for req_id in steps)

    def _arrived(self, req_id: str, request: Any) -> None:
        name = releases.request_name(req_id, self.awaited)
        if name is None:
            return
        self.awaited.discard(name)
        token_ids = request.prompt_token_ids
        if token_ids is None:
            raise UsageError("prompt", name, "one of token ids: embeddings have no tokens to be compared")
        self.longest = self.longest or len(token_ids)
        if len(token_ids) > self.longest:
            raise UsageError(
                "prompt", name, f"at most {self.longest} tokens, as it was announced; it has {len(token_ids)}"
            )
        self.prompts[name] = {"token_ids": list(token_ids), "processed": self._processed(request)}
        self.admit(name, len(token_ids), chosen(self.asked_for, len(token_ids)))

    def _processed(self, request: Any) -> dict | None:
        """What the server's processor made of the files of a request, as `ProcessedFacts`; None where some are not sent again."""
        model_type = self.model.config.model_type
        family = of_type(model_type)
        if family is None:
            return None
        side, dtype = family.serving_side(model_type), self.runner.vllm_config.model_config.dtype
        made: dict[str, tuple] = {}
        for modality, facts_of in facts_by_modality(side, dtype).items():
            items = releases.items_of(request, modality)
            if items is None:
                return None
            made[modality] = tuple(map(facts_of, items))
        return json.loads(typed.dumps(ProcessedFacts((), made["image"], made["video"], made["audio"])))

    def _scored(self, req_id: str, token_ids: torch.Tensor, scores: torch.Tensor) -> bool:
        """Scores of a prompt are for whoever asked for them."""
        return False

    def _observe(self, index: int, call: Call) -> None:
        if self._claims(call):
            super()._observe(index, call)

    def _write(self, call: Call) -> None:
        if self._claims(call):
            super()._write(call)

    def _claims(self, call: Call) -> bool:
        """Have a place for the codes of a call; whether anything of it is observed."""
        batch = self._batch()
        if len(batch):
            slots = releases.slot_mapping(call.layer_name, call.metadata)
            self.sparse.claim(call, [rows.place for rows in batch.requests], slots)
        return len(batch) > 0
