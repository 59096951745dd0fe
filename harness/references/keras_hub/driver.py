"""The driver of keras-hub's Gemma 4, on the torch back end of Keras, with the mask of every attention call recovered by probing.

Run as ``PYTHON -m harness.references.keras_hub.driver READ_FD WRITE_FD``. Nothing here imports transformers, and none of
keras-hub's preprocessing, which TensorFlow does: tokens and soft tokens are those of transformers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import torch
from safetensors.numpy import load_file

from harness.captures.facts import HeadFacts
from harness.captures.facts import Loaded as LoadedFacts
from harness.drivers import channel
from harness.drivers.messages import PreparedPrompt, ReferenceModel
from harness.errors import UnsupportedPrompt
from harness.references.keras_hub import backend
from harness.references.prepared import Answer, Answers, check_scores, wanted


class KerasHub:
    """keras-hub's model with a checkpoint in both precisions (`harness.references.prepared.Model`)."""

    def __init__(self, of: ReferenceModel, device: str) -> None:
        from harness.references.keras_hub.loading import load

        self._device = torch.device(device)
        self._loaded = load(of)

    @property
    def of(self) -> ReferenceModel:
        return self._loaded.of

    @property
    def facts(self) -> LoadedFacts:
        return LoadedFacts(self._loaded.content, self._loaded.weights, self._loaded.not_finite)

    @property
    def head(self) -> HeadFacts:
        text = self._loaded.text
        return HeadFacts(text.get("final_logit_softcapping"), 1.0, text["vocab_size"])

    @property
    def layer_types(self) -> Sequence[str]:
        return self._loaded.text["layer_types"]

    @property
    def versions(self) -> dict[str, str]:
        return {"keras-hub": version("keras-hub"), "keras": version("keras"), "reference torch": torch.__version__}

    def check(self, prompt: PreparedPrompt) -> None:
        if prompt.token_types[0]:
            raise UnsupportedPrompt(
                "the reference keras-hub takes no soft token at position 0: it keeps the embedding of the first token whatever "
                "takes its place (gemma4_layers.py, Gemma4InterleaveEmbeddings)"
            )
        check_scores("keras-hub", prompt, self._loaded.text["num_attention_heads"])

    def answer(self, prompt: PreparedPrompt, layers: Sequence[int]) -> Answer:
        from harness.references.keras_hub import running

        loaded, seen = self._loaded, running.Seen()
        rounded: list[torch.Tensor] = []
        exact: list[torch.Tensor] = []
        soft = {name: one.to(self._device) for name, one in _soft(prompt).items()}
        own, higher = (
            running.inputs(model, prompt.token_ids, prompt.token_types, soft[name])
            for model, name in ((loaded.model, "soft"), (loaded.truth, "truth.soft"))
        )
        made = {
            "logits": running.logits(
                loaded.model, own, running.observed(loaded.model, seen), running.scored(loaded.model, rounded)
            ),
            "truth.logits": running.logits(loaded.truth, higher, running.scored(loaded.truth, exact)),
        }
        if exact:
            made["routed.logits"] = running.logits(loaded.truth, higher, running.swapped(loaded.truth, exact, rounded))
        answer = Answer({name: _array(one) for name, one in made.items()})
        for index in wanted(layers, seen.masks):
            answer.masks[index] = _array(seen.masks[index])
            answer.attention[index] = _array(seen.attention[index])
            answer.hidden[index] = _array(seen.hidden[index])
        return answer


def _soft(prompt: PreparedPrompt) -> dict[str, torch.Tensor]:
    """Embeddings of soft tokens (soft tokens, hidden size), by precision."""
    return {
        name: torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        if array.dtype == np.uint16
        else torch.from_numpy(array)
        for name, array in load_file(prompt.file).items()
    }


def _array(tensor: torch.Tensor) -> np.ndarray:
    """As NumPy has it; bfloat16 by `ml_dtypes`, which Keras requires."""
    import ml_dtypes

    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype != torch.bfloat16:
        return tensor.numpy()
    return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)


def _load(of: ReferenceModel, device: str) -> KerasHub:
    os.environ["KERAS_TORCH_DEVICE"] = device  # read when Keras is imported
    return KerasHub(of, device)


def main() -> None:
    backend.choose()
    channel.serve(Answers(_load).handlers, int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
