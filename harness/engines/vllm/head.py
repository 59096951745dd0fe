"""From hidden states to logits in a worker, with what the model computes and what is done to that afterwards told apart."""

from __future__ import annotations

import torch


class Head:
    """The logits of one worker's model. vLLM's `LogitsProcessor` ends what the model computes: projection, shards of the vocabulary
    put together, padding cut off, soft cap, scale. What `compute_logits` returns beyond that was done after the model,
    such as the suppression of tokens that a generation_config.json asks for."""

    def __init__(self, model) -> None:
        from vllm.model_executor.layers.logits_processor import LogitsProcessor

        self.model = model
        self.processors = [module for module in model.modules() if isinstance(module, LogitsProcessor)]
        self._listening = False
        self._computed: torch.Tensor | None = None
        for processor in self.processors:
            processor.register_forward_hook(self._keep)
        self.begin()

    def begin(self) -> None:
        """Forget what was done to the logits so far."""
        self._suppressed: set[int] = set()
        self._changed: set[int] = set()

    def logits(self, hidden: torch.Tensor) -> torch.Tensor | None:
        """What the model computes for these rows, (rows, vocabulary); none in a rank that does not gather them."""
        self._listening, self._computed = True, None
        try:
            served = self.model.compute_logits(hidden)
        finally:
            self._listening = False
        computed, self._computed = self._computed, None
        if computed is None or served is None:
            return served
        self._note(computed, served)
        return computed

    def given(self, scores: torch.Tensor) -> None:
        """Note the tokens that are suppressed in all of the ``scores`` (rows, V) that the sampler was given."""
        self._suppressed.update((scores == float("-inf")).all(dim=0).nonzero()[:, 0].tolist())

    def facts(self) -> dict:
        """``head``: the settings by which the model computes logits; ``after``: tokens that were ``suppressed`` since `begin`, and
        those whose logits were ``changed`` otherwise."""
        processor = self.processors[-1] if self.processors else None
        head = (
            {"soft_cap": processor.soft_cap, "scale": processor.scale, "vocabulary": processor.org_vocab_size}
            if processor
            else {}
        )
        return {"head": head, "after": {"suppressed": sorted(self._suppressed), "changed": sorted(self._changed)}}

    def _keep(self, module, args, output) -> None:
        if self._listening and output is not None:
            self._computed = output.clone()

    def _note(self, computed: torch.Tensor, served: torch.Tensor) -> None:
        width = computed.shape[-1]
        same = (computed == served[..., :width]) | (computed.isnan() & served[..., :width].isnan())
        differs = ~same.all(dim=0)
        suppressed = differs & (served[..., :width] == float("-inf")).all(dim=0)
        self._suppressed.update(suppressed.nonzero()[:, 0].tolist())
        self._changed.update((differs & ~suppressed).nonzero()[:, 0].tolist())
        self._changed.update(range(width, served.shape[-1]))
