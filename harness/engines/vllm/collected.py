"""What the workers of an engine have collected, as the facts of a capture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.captures.facts import (
    AfterModel,
    EngineFacts,
    Facts,
    HeadFacts,
    LayerFacts,
    Loaded,
    ProcessedFacts,
    PromptFacts,
)

LOGITS = "logits"
"""What `Observer.collect` calls them where they are missing."""


@dataclass(frozen=True)
class Side:
    """What holds for everything that an engine serves."""

    versions: dict[str, str]
    loaded: Loaded
    engine: EngineFacts


def failure(ranks: Sequence[dict[str, Any]]) -> str:
    """Why what `Observer.collect` of the ranks answers is nothing, if it is."""
    return next((rank["failure"] for rank in ranks if rank["failure"]), "")


def missing(ranks: Sequence[dict[str, Any]]) -> list[str]:
    """What some step did not see, since it ran where hooks are not called. Logits are asked of the rank that samples."""
    found = [
        name
        for rank in ranks
        for stack in rank["stacks"].values()
        for name in stack["missing"]
        if name != LOGITS or rank is _sampling(ranks)
    ]
    return list(dict.fromkeys(found))


def _sampling(ranks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first of the ranks that have the last layers of a pipeline: it has the logits."""
    return next(rank for rank in ranks if rank["samples"])


def facts(ranks: Sequence[dict[str, Any]], side: Side, served: float) -> Facts:
    """The facts of a stack without its positions; ``served`` are the seconds that the engine took, probing included."""
    probing = max(rank["probing"] for rank in ranks)
    logits = _sampling(ranks)["logits"]
    layers = {layer["index"]: LayerFacts(**layer) for rank in ranks for layer in rank["layers"]}
    return Facts(
        layers=tuple(layers[index] for index in sorted(layers)),
        logits_at=(),
        versions=side.versions,
        seconds={"serving": served - probing, "serving probing": probing},
        loaded=side.loaded,
        after=AfterModel(**logits["after"]),
        head=HeadFacts(**logits["head"]) if logits["head"] else None,
        engine=side.engine,
    )


def of_stack(facts: Facts, ranks: Sequence[dict[str, Any]], directory: str, rows: Sequence[int]) -> Facts:
    """The facts of the stack in a ``directory``, whose logits are of the positions ``rows``."""
    stacks = [rank["stacks"][directory] for rank in ranks]
    layers = facts.layers if any(stack["observed"] for stack in stacks) else ()
    scored = any(stack["scored"] for stack in stacks)
    return replace(facts, logits_at=tuple(rows), layers=layers, log_probabilities=scored)


def of_prompt(
    ranks: Sequence[dict[str, Any]], name: str, token_ids: Sequence[int], processed: ProcessedFacts | None
) -> PromptFacts:
    """The facts of the prompt that had this ``name`` there."""
    sampling = _sampling(ranks)
    return PromptFacts(
        tuple(token_ids),
        ranges={layer: ranges for rank in ranks for layer, ranges in rank["ranges"][name].items()},
        steps=sampling["steps"][name],
        processed=processed,
        drafts=sampling["drafts"][name],
    )
