"""What the steps saw of requests, put together over positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from harness.engines.vllm.observer.rows import Owners

BY_GROUP = ("mask.", "surplus.")
"""Tensors that have the KV head groups as the first dimension of a request."""

SAMPLED = "sampled.logits"
"""Logits as they are sampled from, which come out of every step, but only of the last token of a request in it."""
SCORES = "scores"
"""What the sampler made of a prompt, of all positions but its last, where that was asked for."""


@dataclass(frozen=True)
class Piece:
    """What one step saw of some rows: ``values`` has them along its first dimension, in the order of ``owners``."""

    owners: Owners
    values: torch.Tensor


class Pieces:
    """What the steps saw, by the names that a capture gives it (`harness.captures.read`)."""

    def __init__(self) -> None:
        self._by_key: dict[str, list[Piece]] = {}
        self._in_part: set[str] = set()

    def keep(self, key: str, owners: Owners, values: torch.Tensor, *, in_part: bool = False) -> None:
        """Remember ``values`` (rows, ...), whose rows are those of ``owners``; ``in_part`` where a layer left out others of the
        step."""
        self._by_key.setdefault(key, []).append(Piece(owners, values))
        if in_part:
            self._in_part.add(key)

    def stacked(
        self,
        names: list[str],
        computed: torch.Tensor,
        logits_at: torch.Tensor,
        seen: str | None,
        *,
        masks: bool = True,
        sampled: torch.Tensor | None = None,
    ) -> tuple[dict[str, torch.Tensor], list[str]]:
        """The tensors of the requests ``names`` stacked, and the keys of those that some step did not see. ``computed``
        (requests, tokens) says which positions some step computed; those that hooks were called for are read from the key
        ``seen``, None where no layer is observed here and other ranks of a pipeline say it. Where they were not, the logits that
        were sampled from are enough, and the scores of a prompt; logits are wanted of the positions ``logits_at``. Without
        ``masks`` none has to be there. Where layers may leave out all rows but those that are ``sampled`` (requests, tokens),
        these are enough of what was kept in part, and of logits."""
        tokens = computed.shape[1]
        known: dict[tuple, torch.Tensor] = {}

        def places(pieces: list[Piece]) -> torch.Tensor:
            key = tuple(id(piece.owners) for piece in pieces)
            if key not in known:
                known[key] = _places(pieces, names, tokens)
            return known[key]

        in_part = set() if sampled is None else self._in_part
        observed = computed if seen is None or seen in in_part else places(self._by_key.get(seen, [])) >= 0
        tensors = {} if seen is None else {"observed": observed.to(torch.uint8)}
        missing = [] if observed.any(dim=1).all() or not masks else ["every layer's mask"]
        if not torch.equal(observed, computed):
            tensors["computed"] = computed.to(torch.uint8)
        for key, pieces in self._by_key.items():
            if key in ("logits", SAMPLED, SCORES):
                continue
            found = places(pieces)
            if not (found >= 0).any():
                continue
            if key in in_part:
                enough = not (observed & sampled & (found < 0)).any()
                if key.startswith("mask."):
                    tensors[key.replace("mask", "run")] = (found >= 0).to(torch.uint8)
            else:
                enough = torch.equal(found >= 0, observed)
            if not enough:
                missing.append(key)
                continue
            stack = _taken(pieces, found)
            tensors[key] = stack.transpose(1, 2) if key.startswith(BY_GROUP) else stack
        logits = self._by_key.get("logits", [])
        wanted = (computed if sampled is None else computed & sampled)[:, logits_at]
        if not (places(logits)[:, logits_at] >= 0)[wanted].all():
            logits = [*self._by_key.get(SCORES, []), *self._by_key.get(SAMPLED, []), *logits]
        if sampled is not None:
            tensors["run.logits"] = (places(logits) >= 0).to(torch.uint8)
        found = places(logits)[:, logits_at]
        if not (torch.equal(found >= 0, wanted) if sampled is None else (found >= 0)[wanted].all()):
            missing.append("logits")
        elif (found >= 0).any():
            tensors["logits"] = _taken(logits, found)
        return tensors, missing


def _taken(pieces: list[Piece], places: torch.Tensor) -> torch.Tensor:
    """The values at ``places`` in the pieces one after another; 0 where a place is -1."""
    values = pieces[0].values if len(pieces) == 1 else torch.cat([piece.values for piece in pieces])
    stack = values[places.clamp(min=0).to(values.device)]
    if (places < 0).any():
        stack[(places < 0).to(values.device)] = 0
    return stack


def _places(pieces: list[Piece], names: list[str], tokens: int) -> torch.Tensor:
    """Where the rows of each request and position lie in the pieces one after another, (requests, tokens); -1 where
    none does: what came from the prefix cache was not computed. Of rows that were computed twice the last ones count."""
    places = torch.full((len(names), tokens), -1)
    wanted = {name: index for index, name in enumerate(names)}
    offset = 0
    for piece in pieces:
        for name, positions in piece.owners:
            if name in wanted:
                places[wanted[name], positions] = torch.arange(offset, offset + len(positions))
            offset += len(positions)
    return places
