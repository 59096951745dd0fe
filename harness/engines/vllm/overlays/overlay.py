"""What an overlay is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from packaging.specifiers import SpecifierSet

from harness.engines.vllm.overlays.changes import Changes
from harness.errors import OverlayRefused

TRIED = ">=0.25.1,<0.34"


class Needs(Enum):
    """What a mutant needs to show, beside an image on the V1 runner."""

    NOTHING = "nothing more"
    RANGE_GUARD = "the V2 runner's guard of image ranges"
    CHUNKS = "chunked prefill"
    BATCH = "several requests in one batch"
    ROUNDED_KV = "keys and values that are kept in 8 bits, with a scale for each token and head"
    DECODE = "steps of decoding"
    OTHER_PICTURES = "a request before it with other pictures"
    CACHED = "a prefix cache that has the same words with other pictures"
    EVICTED = "a prefix cache of which some layers have lost what others still hold"
    LONG = "prompts of more than 128 tokens"
    ADAPTER = "a LoRA adapter, a request with it and one without in a batch"
    PIPELINE = "a pipeline of two ranks"
    FAST_PREFILL = "kv_sharing_fast_prefill, with layers that share keys"
    DRAFTS = "drafts, of which some are accepted"
    SHARED_KEYS = "layers that share keys, and per-layer inputs"
    NO_FLAG = "a model that does not ask for bidirectional images"


@dataclass(frozen=True)
class Overlay:
    """A named change of the serving side: ``apply(worker, changes)`` is called inside the worker after the model is
    loaded and makes its changes through the changes, so that they can be taken back.

    ``changes`` names the functions or attributes of vLLM that are changed; ``releases`` (PEP 440) are
    those that it fits; ``kind`` is "patch" or "mutant"; ``source`` is where such a change came from.
    ``equivalent`` says, for a mutant that cannot be told apart, why; ``needs`` what it needs to show. ``excludes`` are the names
    of overlays that change the same thing in another way, so that of the two only one can be meant. What is changed is had by the
    model families ``families`` and the ``platforms``, none for all; by the attention back ends that run ``implementation``, by
    models whose spec has ``of_model`` (a field of `ModelSpec`), ``adapted`` by engines that serve a LoRA adapter, ``pipelined`` by
    those of several ranks that have some layers each, and by those that were given ``argument`` as true.
    """

    name: str
    kind: str
    sentence: str
    changes: tuple[str, ...]
    apply: Callable[[object, Changes], None]
    source: str = ""
    releases: str = TRIED
    equivalent: str = ""
    needs: Needs = Needs.NOTHING
    excludes: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    implementation: str = ""
    of_model: str = ""
    adapted: bool = False
    pipelined: bool = False
    argument: str = ""

    def fits(self, family: str) -> bool:
        """Whether it changes what a model of this family does."""
        return not self.families or family in self.families

    def check(self, release: str) -> None:
        """Raise OverlayRefused if this release is none that the overlay fits."""
        if not SpecifierSet(self.releases).contains(release.split("+", maxsplit=1)[0], prereleases=True):
            raise OverlayRefused(f"overlay {self.name}: fits vLLM {self.releases}, this is {release}")
