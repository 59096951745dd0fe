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
    PictureFacts,
    PromptFacts,
)


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
    """What some step did not see, since it ran where hooks are not called."""
    return next((stack["missing"] for stack in ranks[0]["stacks"].values() if stack["missing"]), [])


def facts(ranks: Sequence[dict[str, Any]], side: Side, served: float) -> Facts:
    """The facts of a stack without its positions; ``served`` are the seconds that the engine took, probing included."""
    probing = max(rank["probing"] for rank in ranks)
    logits = ranks[0]["logits"]
    return Facts(
        layers=tuple(LayerFacts(**layer) for layer in ranks[0]["layers"]),
        logits_at=(),
        versions=side.versions,
        seconds={"serving": served - probing, "serving probing": probing},
        loaded=side.loaded,
        after=AfterModel(**logits["after"]),
        head=HeadFacts(**logits["head"]) if logits["head"] else None,
        engine=side.engine,
    )


def of_stack(facts: Facts, stack: dict[str, Any], rows: Sequence[int]) -> Facts:
    """The facts of one stack, whose logits are of the positions ``rows``."""
    layers = facts.layers if stack["observed"] else ()
    return replace(facts, logits_at=tuple(rows), layers=layers, log_probabilities=stack["scored"])


def of_prompt(
    rank: dict[str, Any], name: str, token_ids: Sequence[int], pictures: tuple[PictureFacts, ...] | None
) -> PromptFacts:
    """The facts of the prompt that had this ``name`` there."""
    return PromptFacts(
        tuple(token_ids),
        ranges=rank["ranges"][name],
        steps=rank["steps"][name],
        pictures=pictures,
        drafts=rank["drafts"][name],
    )
