"""The driver of the official model: `gemma` in JAX, with the mask of every attention call taken where its weights are computed.

Run as ``PYTHON -m harness.references.official.driver READ_FD WRITE_FD``. Nothing here imports torch or transformers. Checkpoints
are built, and soft tokens made, by transformers in a driver of its own (`harness.references.transformers.preparing`): no
release of `gemma` has the towers of a checkpoint that bounds the linear layers of keys and values apart, as those of
transformers do (`_layers.py`, `ClippedEinsum` has one pair of bounds for both).
"""

from __future__ import annotations

import gc
import sys
import time
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import load_file

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
    Request,
    RunReference,
    Stored,
)
from harness.errors import UnsupportedPrompt
from harness.masks.observed import ProbeError, Weights
from harness.references.official import routing, training
from harness.references.official.loading import TRUTH, Loaded, load
from harness.references.official.running import Runner, Seen, Soft

PADDING = 0
"""The token that the official model takes for padding wherever it stands (`_transformer.py`, `_PADDING_ID`)."""
PLACEHOLDERS = {1: -2, 2: -2, 3: -4}
"""By the type of a soft token (image, video, audio) what stands for it in an official prompt (`gm/vision/_token_utils.py`). The
official model knows no videos: their frames are images to it."""
TOGETHER = 32
"""Prompts, and their soft tokens, are padded to a multiple of so many, so that the model is compiled for few sizes. Padding at the
end is masked, and soft tokens that are too many fall on position 0, which keeps its own embedding (`_token_utils.py`)."""
SCORES = 1 << 29
"""The most scores of an attention call, which holds one for every pair and head: 2 GiB in float32."""


class Reference:
    """Answers for the checkpoint that is loaded, which is replaced whole or not at all."""

    def __init__(self) -> None:
        self.loaded: Loaded | None = None
        self.runners: tuple[Runner, Runner] | None = None

    def load(self, request: LoadReference) -> Done:
        """What was loaded goes first, since there may be no room for both; after a failure nothing is."""
        self.loaded = self.runners = None
        gc.collect()
        loaded = load(request.model)
        self.runners = (
            Runner(loaded.model, loaded.parameters, loaded.of.dtype),
            Runner(loaded.model, loaded.truth, TRUTH[loaded.of.dtype]),
        )
        self.loaded = loaded
        return Done()

    def run(self, request: RunReference) -> Captured:
        """Capture prompts, one after another.

        Raises:
            UnsupportedPrompt: the official model would take a prompt for another one, or has no room for it.
            ProbeError: the weights of a layer are none of a mask.
            RuntimeError: another model is loaded than is asked for, or nothing was prepared.
        """
        if self.loaded is None or self.loaded.of != request.model or request.prepared is None:
            raise RuntimeError(
                f"{request.model} was asked for with what was prepared for it, and {self.loaded and self.loaded.of} is loaded"
            )
        if request.prepared.content != self.loaded.content:
            raise RuntimeError(f"{request.model.checkpoint} is not the checkpoint that prompts were prepared from")
        for prompt in request.prepared.prompts:
            _check(prompt, self.loaded)
        captured = []
        for place, prompt in enumerate(request.prepared.prompts):
            directory = request.out / str(place)
            self._capture(self.loaded, prompt, request.prepared, directory, request)
            captured.append(Stored(directory, 0))
        return Captured(tuple(captured))

    def _capture(
        self, loaded: Loaded, prompt: PreparedPrompt, prepared: Prepared, directory: Path, asked: RunReference
    ) -> None:
        assert self.runners is not None, "a model is loaded"
        start = time.perf_counter()
        model, truth = self.runners
        tokens, soft, count = _tokens(prompt), _soft(prompt), len(prompt.token_ids)
        rows = chosen(asked.positions, count)
        logits, seen = model.observed(tokens, soft["soft"])
        exact, of_truth = truth.scored(tokens, soft["truth.soft"])
        tensors = {"logits": logits, "truth.logits": exact}
        if of_truth.scores:
            reach = routing.reaches(of_truth.scores, seen.scores, loaded.config.top_k_experts, count)
            tensors["routed.logits"] = truth.swapped(tokens, soft["truth.soft"], reach)
        arrays = {name: np.asarray(one)[None, rows] for name, one in tensors.items()}
        layers = [index for index in sorted(seen.weights) if not asked.layers or index in asked.layers]
        for index in layers:
            arrays[f"mask.{index}"] = self._mask(loaded, seen, index, count)[None]
            attention = np.asarray(seen.attention[index])[None, :count]
            if attention.size <= ATTENTION_VALUES:
                arrays[f"attention.{index}"] = attention
            arrays[f"hidden.{index}"] = np.asarray(seen.hidden[index])[None, :count]
        halves = [name for name, array in arrays.items() if array.dtype == jax.numpy.bfloat16]
        arrays |= {name: arrays[name].view(np.uint16) for name in halves}
        facts = Facts(
            layers=tuple(LayerFacts(index, _kind(loaded, index)) for index in layers),
            logits_at=tuple(rows),
            versions={"gemma": version("gemma"), "jax": version("jax")},
            seconds={"reference": time.perf_counter() - start},
            loaded=LoadedFacts(loaded.content, loaded.weights, loaded.not_finite),
            after=prepared.after,
            head=HeadFacts(loaded.config.final_logit_softcap, 1.0, loaded.config.num_embed),
            special=prepared.special,
        )
        own = PromptFacts(prompt.token_ids, prompt.token_types, pictures=prompt.pictures)
        stack.write(directory, arrays, facts, [own], halves)

    def _mask(self, loaded: Loaded, seen: Seen, index: int, tokens: int) -> np.ndarray:
        """A layer's mask, uint8 (KV head groups, N, bytes)."""
        epsilon = float(jax.numpy.finfo(loaded.of.dtype).eps)
        full = _kind(loaded, index) == "full_attention"
        kv_heads = loaded.config.num_global_kv_heads if full else loaded.config.num_kv_heads
        try:
            return Weights(*seen.weights[index]).first(tokens).recovered(kv_heads, epsilon)
        except ProbeError as error:
            raise ProbeError(f"reference, layer {index}: {error}") from error


def _kind(loaded: Loaded, index: int) -> str:
    return "full_attention" if loaded.config.attention_types[index].name == "GLOBAL" else "sliding_attention"


def _check(prompt: PreparedPrompt, loaded: Loaded) -> None:
    """Refuse what the official model would silently take for something else."""
    if prompt.token_types[0]:
        raise UnsupportedPrompt(
            "the reference official takes no soft token at position 0: it keeps the embedding of the first token whatever takes "
            "its place (gm/vision/_token_utils.py, _merge_flat_embeddings_inner)"
        )
    text = (token for token, kind in zip(prompt.token_ids, prompt.token_types, strict=True) if not kind)
    if PADDING in text:
        raise UnsupportedPrompt(
            f"the reference official takes no token {PADDING} in a prompt: it is padding wherever it stands"
        )
    scores = loaded.config.num_heads * len(prompt.token_ids) ** 2
    if scores > SCORES:
        longest = int((SCORES / loaded.config.num_heads) ** 0.5)
        raise UnsupportedPrompt(
            f"the reference official takes at most {longest} tokens of this model, and the prompt has {len(prompt.token_ids)}: its "
            f"attention holds a score for every pair and each of {loaded.config.num_heads} heads"
        )


def _tokens(prompt: PreparedPrompt) -> jax.Array:
    """The official prompt, int32 (1, N), padded."""
    each = zip(prompt.token_ids, prompt.token_types, strict=True)
    tokens = [PLACEHOLDERS.get(kind, token) for token, kind in each]
    return jax.numpy.asarray([tokens + [PADDING] * (-len(tokens) % TOGETHER)], dtype="int32")


def _soft(prompt: PreparedPrompt) -> dict[str, Soft]:
    """Embeddings of soft tokens, by precision, padded."""
    kinds = np.array([kind for kind in prompt.token_types if kind])
    found = {}
    for name, array in load_file(prompt.file).items():
        values = array.view(jax.numpy.bfloat16) if array.dtype == np.uint16 else array
        found[name] = Soft(_padded(values[kinds != 3]), _padded(values[kinds == 3]))
    return found


def _padded(soft: np.ndarray) -> np.ndarray | None:
    """Embeddings (1, soft tokens, hidden size); None where there are none."""
    return np.pad(soft, ((0, -len(soft) % TOGETHER), (0, 0)))[None] if len(soft) else None


def handlers(reference: Reference) -> dict[type[Request], channel.Handler]:
    """What each request is answered by."""
    return {LoadReference: reference.load, RunReference: reference.run}


def _remember_compiled() -> None:
    """Keep what is compiled, for the next process, in an environment that the harness made; it goes with that."""
    folder = Path(sys.prefix)
    if (folder / "environment.json").exists():
        jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")
    _remember_compiled()
    training.stand_in()
    channel.serve(handlers(Reference()), int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
