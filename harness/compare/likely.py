"""Which policy gives serving's logits where its masks were not observed: each is laid over the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.captures.read import Capture
from harness.compare import logits
from harness.compare.against import against
from harness.compare.known import PRECISIONS, Declared
from harness.compare.result import LogitsResult
from harness.drivers.messages import Forced
from harness.engines.vllm.attention_backends import vllm_name
from harness.families.registry import family_of
from harness.masks.policies import POLICIES
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec

Policies = tuple[str, str]
"""Of sliding and of full layers."""
KINDS = ("sliding_attention", "full_attention")


@dataclass(frozen=True)
class Candidate:
    """Masks that serving may have applied: those that each of ``policies`` gives for this prompt, the likeliest first."""

    policies: tuple[Policies, ...]
    forced: Forced

    @property
    def name(self) -> str:
        """The likeliest for people."""
        sliding, full = self.policies[0]
        return (
            f"`{sliding}`" if full in (sliding, "causal") else f"`{sliding}` on sliding layers, `{full}` on full ones"
        )


def unseen(spec: ModelSpec, serving: Capture) -> bool:
    """Nobody saw a part of what serving attended: layers that were not asked for, or positions that the prefix cache had."""
    return _in_part(spec, serving) or not serving.computed.all()


def _in_part(spec: ModelSpec, serving: Capture) -> bool:
    return 0 < len(serving.facts.layers) < len(spec.layers)


def candidates(
    layout: Layout, spec: ModelSpec, reference: Capture, serving: Capture, declared: Declared | None = None
) -> list[Candidate]:
    """Every mask that a known policy gives, of serving's back end and family, and that is not the reference's own, in the rows that
    nobody observed; the ``declared`` policy first. Where some layers were observed it is that of all layers and rows, and gives
    what was seen of layers of the same type."""
    spans, in_part = layout.vision, _in_part(spec, serving)
    rows = np.arange(len(layout)) if in_part else np.flatnonzero(~serving.observed)
    own = _of_reference(reference)
    found: dict[bytes, list[Policies]] = {}
    for policies in dict.fromkeys(_policies(spec, serving, declared)):
        every: dict[str, np.ndarray] = {
            kind: POLICIES[name].mask(len(layout), spans, spec.window, sliding=kind == KINDS[0])
            for kind, name in zip(KINDS, policies, strict=True)
            if kind in spec.layer_types
        }
        if in_part and any(not np.array_equal(every[kind], mask) for kind, mask in own.items()):
            continue
        if any(kind not in own or not np.array_equal(mask[rows], own[kind][rows]) for kind, mask in every.items()):
            found.setdefault(b"".join(mask[rows].tobytes() for mask in every.values()), []).append(policies)
    return [Candidate(tuple(alike), Forced(*alike[0], spans, tuple(map(int, rows)))) for alike in found.values()]


def of_all_rows(layout: Layout, policies: Policies, ends: Sequence[int] = ()) -> Candidate:
    """The masks that these policies give in every row, up to the ``ends`` of the rows where there are any."""
    spans = layout.vision
    return Candidate((policies,), Forced(*policies, spans, tuple(range(len(layout))), tuple(ends)))


def _of_reference(reference: Capture) -> dict[str, np.ndarray]:
    """By the type of a layer the reference's observed mask, of the first such layer and its first KV head group."""
    found: dict[str, np.ndarray] = {}
    for layer in reference.facts.layers:
        if layer.type not in found:
            found[layer.type] = reference.unpack(reference.masks(layer.index)[0])
    return found


def _policies(spec: ModelSpec, serving: Capture, declared: Declared | None) -> Iterator[Policies]:
    family = family_of(spec)
    sliding, full = (family.policy(kind, spec.bidirectional) for kind in ("sliding", "full"))
    if declared and declared.policy:
        yield declared.policy, declared.full_policy
    backend = vllm_name(serving.facts.engine.backend)
    for policy in POLICIES.values():
        if policy.backend not in ("", backend) or policy.family not in ("", family.name):
            continue
        if policy.on_sliding:
            yield policy.name, full
            yield policy.name, policy.name
        if policy.on_full:
            yield sliding, policy.name


@dataclass(frozen=True)
class Laid:
    """A candidate and what the ``reference`` made of the prompt with its masks laid over."""

    candidate: Candidate
    reference: Capture


@dataclass(frozen=True)
class Likely:
    """The candidates that were laid over the reference, beside serving's logits."""

    laid: Sequence[Laid] | None
    """None where nothing was tried."""
    serving: Capture

    @cached_property
    def results(self) -> list[tuple[Candidate, LogitsResult]]:
        """Of each candidate serving's logits against the reference that attends so; the one that is nearest first."""
        every = [(one.candidate, self._against(one.reference)) for one in self.laid or ()]
        return sorted(every, key=lambda one: one[1].ratio)

    def _against(self, reference: Capture, rows: np.ndarray | None = None) -> LogitsResult:
        """Against the truth, or where that is exceeded by the error of a coarser precision that was run."""
        coarse = [f"{name}.logits" for name in PRECISIONS if f"{name}.logits" in reference.tensors]
        floors: list[tuple[str, ...]] = [(), *((name,) for name in coarse)]
        every = [against(reference, self.serving, *floor, rows=rows) for floor in floors]
        return next((one for one in every if one.within), every[0])

    @property
    def found(self) -> list[Candidate]:
        """Those that give serving's logits."""
        return [candidate for candidate, result in self.results if result.within]

    def shows(self, declared: Declared) -> bool | None:
        """Whether serving's logits are those of a declared policy; None where it was not tried, since it is the reference's own."""
        found = self.against(declared)
        return None if found is None else found.within

    def against(self, declared: Declared, rows: np.ndarray | None = None) -> LogitsResult | None:
        """Serving's logits at these ``rows``, boolean (N,), or all, against the reference that attends as a policy says; None where
        that was not tried, or there are none."""
        policies = (declared.policy, declared.full_policy)
        if rows is None:
            return next((result for one, result in self.results if policies in one.policies), None)
        found = next((one.reference for one in self.laid or () if policies in one.candidate.policies), None)
        if found is None or not (self.serving.answered & rows)[list(found.facts.logits_at)].any():
            return None
        return self._against(found, rows)

    @property
    def sentence(self) -> str:
        """What it comes to, where serving's logits are not the reference's own."""
        if self.laid is None:
            return "which policy gives these logits was not tried"
        if not self.results:
            return "no known policy masks otherwise here"
        found = [result for _, result in self.results if result.within]
        if not found:
            nearest, result = self.results[0]
            return (
                f"no known policy, laid over the reference, gives these logits ({nearest.name} comes nearest: "
                f"{result.ratio:.3g} times the noise floor)"
            )
        names = " or ".join(candidate.name for candidate in self.found)
        said = f"{names}, which they do not tell apart," if len(found) > 1 else names
        (likeliest, *_) = self.found
        others = [f"`{sliding}`" for sliding, _ in likeliest.policies[1:] if sliding != likeliest.policies[0][0]]
        same = f" (here the same as {', '.join(dict.fromkeys(others))})" if others and len(found) == 1 else ""
        kind = "likely policies" if len(found) > 1 else "likely policy"
        return (
            f"{kind} {said}{same}: laid over the reference it gives these logits, at {found[0].ratio:.3g} times the noise floor "
            f"({logits.FACTOR:g} are allowed); {POLICIES[likeliest.policies[0][0]].cause}"
        )
