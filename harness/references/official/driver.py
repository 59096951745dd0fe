"""The driver of the official model: `gemma` in JAX, with the mask of every attention call taken where its weights are computed.

Run as ``PYTHON -m harness.references.official.driver READ_FD WRITE_FD``. Nothing here imports torch or transformers. Checkpoints
are built, and soft tokens made, by transformers in a driver of its own (`harness.references.transformers.preparing`): no
release of `gemma` has the towers of a checkpoint that bounds the linear layers of keys and values apart, as those of
transformers do (`_layers.py`, `ClippedEinsum` has one pair of bounds for both).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import load_file

from harness.captures.facts import HeadFacts
from harness.captures.facts import Loaded as LoadedFacts
from harness.drivers import channel
from harness.drivers.messages import PreparedPrompt, ReferenceModel
from harness.errors import UnsupportedPrompt
from harness.masks.observed import ProbeError, Weights
from harness.references.official import device, routing, training
from harness.references.official.loading import Loaded, load
from harness.references.official.running import Runner, Seen, Soft
from harness.references.prepared import AUDIO, IMAGE, TRUTH, VIDEO, Answer, Answers, check_scores, wanted

PADDING = 0
"""The token that the official model takes for padding wherever it stands (`_transformer.py`, `_PADDING_ID`)."""
PLACEHOLDERS = {IMAGE: -2, VIDEO: -2, AUDIO: -4}
"""By the type of a soft token what stands for it in an official prompt (`gm/vision/_token_utils.py`). The official model knows no
videos: their frames are images to it."""
TOGETHER = 32
"""Prompts, and their soft tokens, are padded to a multiple of so many, so that the model is compiled for few sizes. Padding at the
end is masked, and soft tokens that are too many fall on position 0, which keeps its own embedding (`_token_utils.py`)."""


class Official:
    """The official model with a checkpoint in both precisions (`harness.references.prepared.Model`)."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._model = Runner(loaded.model, loaded.parameters, loaded.of.dtype)
        self._truth = Runner(loaded.model, loaded.truth, TRUTH[loaded.of.dtype])

    @property
    def of(self) -> ReferenceModel:
        return self._loaded.of

    @property
    def facts(self) -> LoadedFacts:
        return LoadedFacts(self._loaded.content, self._loaded.weights, self._loaded.not_finite)

    @property
    def head(self) -> HeadFacts:
        config = self._loaded.config
        return HeadFacts(config.final_logit_softcap, 1.0, config.num_embed)

    @property
    def layer_types(self) -> list[str]:
        return [_kind(self._loaded, index) for index in range(len(self._loaded.config.attention_types))]

    @property
    def versions(self) -> dict[str, str]:
        return {"gemma": version("gemma"), "jax": version("jax"), "jax device": device.name()}

    def check(self, prompt: PreparedPrompt) -> None:
        _check(prompt, self._loaded)

    def answer(self, prompt: PreparedPrompt, layers: Sequence[int]) -> Answer:
        tokens, soft, count = _tokens(prompt), _soft(prompt), len(prompt.token_ids)
        logits, seen = self._model.observed(tokens, soft["soft"])
        exact, of_truth = self._truth.scored(tokens, soft["truth.soft"])
        made = {"logits": logits, "truth.logits": exact}
        if of_truth.scores:
            reach = routing.reaches(of_truth.scores, seen.scores, self._loaded.config.top_k_experts, count)
            made["routed.logits"] = self._truth.swapped(tokens, soft["truth.soft"], reach)
        answer = Answer({name: np.asarray(one)[:count] for name, one in made.items()})
        for index in wanted(layers, seen.weights):
            answer.masks[index] = _mask(self._loaded, seen, index, count)
            answer.attention[index] = np.asarray(seen.attention[index])[:count]
            answer.hidden[index] = np.asarray(seen.hidden[index])[:count]
        return answer


def _mask(loaded: Loaded, seen: Seen, index: int, tokens: int) -> np.ndarray:
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
    check_scores("official", prompt, loaded.config.num_heads)


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
        found[name] = Soft(_padded(values[kinds != AUDIO]), _padded(values[kinds == AUDIO]))
    return found


def _padded(soft: np.ndarray) -> np.ndarray | None:
    """Embeddings (1, soft tokens, hidden size); None where there are none."""
    return np.pad(soft, ((0, -len(soft) % TOGETHER), (0, 0)))[None] if len(soft) else None


def _remember_compiled() -> None:
    """Keep what is compiled, for the next process, in an environment that the harness made; it goes with that."""
    folder = Path(sys.prefix)
    if (folder / "environment.json").exists():
        jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def main() -> None:
    device.choose()
    _remember_compiled()
    training.stand_in()
    channel.serve(Answers(lambda of, device: Official(load(of))).handlers, int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
