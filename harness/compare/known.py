"""Divergences that are known: each is declared with its link, for settings and releases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from packaging.specifiers import SpecifierSet

from harness.compare.setting import Setting
from harness.engines.vllm.arguments import value as parsed
from harness.prompts.model_spec import ModelSpec
from harness.text import quoted

PRECISIONS = {"tf32": "TF32"}
"""Precisions of matrix products that the reference can be run in beside its own, on a GPU in float32."""
AUTO = "auto"
PARTS_OF_MODELS = (
    "per_layer_input",
    "kv_shared_layers",
    "moe",
    "k_eq_v",
    "softcap",
    "audio",
    "clipped",
    "standardize",
    "unified",
)
"""Fields of `ModelSpec` that some models have and others do not."""


@dataclass(frozen=True)
class Declared:
    """A divergence that is known. One of four says what is seen:

    - ``policy``: sliding layers follow it instead of the reference's (full layers ``full_policy``); with ``split`` an image
      that is split over steps sees itself up to the end of each step only, and may count later soft tokens of its own;
    - ``precision``: every mask is equal, and the logits are within the bound whose floor is the error of the reference with
      products in this precision, one of `PRECISIONS`, measured in the same run;
    - ``failure``: the serving side fails with this in its message, for some prompts or, where it is ``certain``, for all;
    - ``logits``: every mask was observed and is equal, and the logits are off; the first layer whose hidden states are off is
      ``first_layer``, if one is named, and with one of the patches ``mended_by`` laid over the engine that served the verdict is
      PASS, if any are (`harness.verification.mended`). It is of models that have all ``model_has``, names of `PARTS_OF_MODELS`,
      for some prompts or, where it is ``certain``, for all.

    With a ``reference`` (its name) it is the reference that follows ``policy``, instead of what is intended, and ``releases``
    are its own; nothing else of what follows is meant then but ``settings``, which name the cache of its own that it has to be run
    with, and ``member``, the `model_type` that models must have if one is named. ``unobserved``: it is only there where no mask of
    serving could be observed, as in a full CUDA graph.

    It holds for settings whose fields are in ``backends`` (on a GPU vLLM's own names), ``runners`` and ``dtypes``, whose other
    options have one of the values that ``settings`` has for their names (all of them, where an option is repeatable; an engine
    argument that is an object has all that a declared one has), and for vLLM ``releases`` (a PEP 440 specifier), unless one of the
    overlays ``mended_by`` is laid over them, and for models of a ``family``, or of all where none is named. ``link`` is the issue
    or pull request. ``file`` is the known file that it stands in (`harness.compare.known_file`), ``catalogue`` the catalogue,
    where that is not the harness's own.

    Raises:
        ValueError: not exactly one of the four is given, of a reference another one than a policy, a member of none, or logits are
            declared without what tells this fault from others: a layer or a patch, and releases or a setting.
    """

    policy: str = ""
    link: str = ""
    reason: str = ""
    backends: tuple[str, ...] = ()
    runners: tuple[str, ...] = ()
    releases: str = ""
    full_policy: str = "causal"
    mended_by: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    precision: str = ""
    failure: str = ""
    split: bool = False
    settings: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    certain: bool = False
    file: str = ""
    catalogue: str = ""
    family: str = ""
    reference: str = ""
    member: str = ""
    unobserved: bool = False
    logits: bool = False
    first_layer: int | None = None
    model_has: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if sum(map(bool, (self.policy, self.precision, self.failure, self.logits))) != 1:
            raise ValueError("a declaration has exactly one of policy, precision, failure and logits")
        if self.logits and self.first_layer is None and not self.mended_by:
            raise ValueError("logits goes with first_layer or mended_by: what tells this fault from others")
        if self.logits and not (self.releases or self.settings or self.backends or self.runners):
            raise ValueError("logits goes with releases or settings: where it is seen")
        for name in self.model_has:
            if name not in PARTS_OF_MODELS:
                raise ValueError(f"model_has {name!r}: one of {', '.join(PARTS_OF_MODELS)}")
        if self.precision and self.precision not in PRECISIONS:
            raise ValueError(f"precision {self.precision!r}: one of {', '.join(PRECISIONS)}")
        if self.reference and not self.policy:
            raise ValueError("of a reference a policy is declared")
        if self.member and not self.reference:
            raise ValueError("a member is named where a reference is")

    def holds(self, setting: Setting, release: str, family: str = "gemma4") -> bool:
        """Whether it is of this setting, release of vLLM and model family; ``setting`` has the back end and runner that the
        engine chose, where "auto" was asked for."""
        return (
            not self.reference
            and self.family in ("", family)
            and (not self.backends or setting.engine.backend in self.backends)
            and (not self.runners or setting.engine.runner in self.runners)
            and (not self.dtypes or setting.engine.dtype in self.dtypes)
            and self._has_all(setting)
            and not set(self.mended_by) & set(setting.overlays)
            and self._covers(release)
        )

    def before_choosing(self, setting: Setting) -> Declared:
        """It without what an engine that failed has not told: of "auto" nobody knows what it would have chosen."""
        engine = setting.engine
        return replace(
            self,
            backends=() if engine.backend == AUTO else self.backends,
            runners=() if engine.runner == AUTO else self.runners,
        )

    def of_model(self, spec: ModelSpec) -> bool:
        """Whether a model has all that it is declared of."""
        return all(getattr(spec, name) for name in self.model_has)

    def holds_of(
        self, reference: str, release: str, family: str, setting: Setting | None = None, member: str = ""
    ) -> bool:
        """It is declared of this ``release`` of a reference, for models of this family and ``member`` of it: with a ``setting`` of
        the cache that is asked for there, without one of no cache."""
        return (
            self.reference == reference
            and self.family in ("", family)
            and self.member in ("", member)
            and self._covers(release)
            and (not self.settings if setting is None else self._of_cache(setting))
        )

    def _of_cache(self, setting: Setting) -> bool:
        """It is declared of this cache; of chunks only where they are named."""
        named = {name for name, _ in self.settings}
        whole = setting.reference.prefill_chunk_size is None or "prefill_chunk_size" in named
        return bool(named) and whole and self._has_all(setting)

    def _has_all(self, setting: Setting) -> bool:
        values = setting.to_dict() | {"draft": setting.scenario.drafter}
        return all(_has(values[name], allowed) for name, allowed in self.settings)

    def _covers(self, release: str) -> bool:
        return SpecifierSet(self.releases).contains(release.split("+", maxsplit=1)[0], prereleases=True)

    def to_dict(self) -> dict[str, str]:
        """What a report says of it."""
        return {"policy": self.policy, "link": self.link, "reason": self.reason, "file": self.file}

    @property
    def met(self) -> str:
        """What is said where it is what was seen."""
        return f"declared: {self.reason} ({self.link})"

    @property
    def gone(self) -> str:
        """What is said when it is not there any more."""
        what = (
            f"divergence `{self.policy}`"
            if self.policy
            else "imprecision of the logits"
            if self.precision
            else "divergence of the logits"
            if self.logits
            else f"failure {quoted(self.failure)}"
        )
        place = f" from {self.file}" if self.file else ""
        return f"the declared {what} is gone; remove its declaration{place} ({self.link})"


def _has(value: object, allowed: tuple[Any, ...]) -> bool:
    if not isinstance(value, tuple):
        return value in allowed
    return all(any(_is_part(wanted, one) for one in value) for wanted in allowed)


def _is_part(wanted: Any, given: Any) -> bool:
    """They are equal, or both are an engine argument of one name whose value has all that is wanted."""
    if given == wanted or isinstance(wanted, str) or given[0] != wanted[0]:
        return bool(given == wanted)
    return _has_part(parsed(wanted[1]), parsed(given[1]))


def _has_part(wanted: Any, given: Any) -> bool:
    """They are equal, or are objects, and that which is given has all of the other at every depth."""
    if isinstance(wanted, dict) and isinstance(given, dict):
        return all(name in given and _has_part(one, given[name]) for name, one in wanted.items())
    return type(wanted) is type(given) and bool(wanted == given)
