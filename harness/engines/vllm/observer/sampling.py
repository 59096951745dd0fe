"""What a worker samples: its raw logits, and the token that a request goes on with where one is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch


@dataclass(frozen=True)
class Continuation:
    """The ``tokens`` that a request goes on with from position ``start`` on."""

    start: int
    tokens: Sequence[int]

    def at(self, position: int) -> int | None:
        """The token that is given for a position, if one is."""
        index = position - self.start
        return self.tokens[index] if 0 <= index < len(self.tokens) else None


def force(
    sampled: torch.Tensor,
    names: Sequence[str | None],
    positions: Sequence[int | None],
    given: Mapping[str, Continuation],
) -> None:
    """Put the ``given`` tokens of requests in place of the ``sampled`` ones, (requests, 1), in the order of the batch; each was
    sampled for its position."""
    for place, (name, position) in enumerate(zip(names, positions, strict=True)):
        if (
            name is not None
            and name in given
            and position is not None
            and (token := given[name].at(position)) is not None
        ):
            sampled[place, 0] = token


def accepted(tokens: torch.Tensor, drafts: Sequence[int], end: int, given: Continuation) -> tuple[int, int]:
    """Let a request accept of its ``drafts``, the last of which lies before position ``end``, those that are ``given``, and go on
    with the given token behind them: in place of ``tokens`` (most drafts + 1,), which are -1 behind the last that counts. How many
    drafts were compared with given tokens, and how many of them accepted."""
    first = end - len(drafts)
    own = [given.at(position) for position in range(first, end + 1)]
    if own[0] is None:
        return 0, 0
    right = 0
    while right < len(drafts) and drafts[right] == own[right]:
        right += 1
    behind = own[right]
    taken = [*drafts[:right], max(int(tokens[right]), 0) if behind is None else behind]
    tokens.fill_(-1)
    tokens[: len(taken)] = torch.tensor(taken)
    return sum(token is not None for token in own[: len(drafts)]), right


After = Callable[[list[list[int]], torch.Tensor], None]
"""Is given each request's drafts of a step, in the order of the batch, and the tokens (requests, most drafts + 1) that were
accepted and sampled, which may be changed: -1 behind the last that counts."""


Before = Callable[[torch.Tensor], None]
"""Is given the logits (requests, V) that the last token of each request of a step is sampled from."""


def around_drafts(runner: Any, before: Before, after: After) -> None:
    """Call ``after`` in each step of a V1 runner that has drafts; what is asked ``before`` its sampler is (`around_sampler`)."""
    rejection = getattr(runner, "rejection_sampler", None)
    if rejection is None:
        return
    own = type(rejection)

    def call(self, metadata, *args, **kwargs):
        output = own.__call__(self, metadata, *args, **kwargs)
        drafts = torch.split(metadata.draft_token_ids, metadata.num_draft_tokens)
        after([each.tolist() for each in drafts], output.sampled_token_ids)
        return output

    rejection.__class__ = type(own.__name__, (own,), {"__call__": call, "__module__": own.__module__})


def around_drafts_of_v2(runner: Any, before: Before, after: After) -> None:
    """Call ``before`` and ``after`` in each step of a V2 runner that has drafts. How many tokens count is said beside them there:
    none of a request whose prompt, or what is computed again of it, goes on in the next step."""
    rejection = getattr(runner, "rejection_sampler", None)
    if rejection is None:
        return
    own = type(rejection)

    def call(self, logits, batch, *args, **kwargs):
        before(logits[batch.cu_num_logits[1:] - 1])
        output = own.__call__(self, logits, batch, *args, **kwargs)
        tokens, scheduled = output.sampled_token_ids, output.num_sampled + output.num_rejected
        samples = output.num_sampled > 0
        places = torch.arange(tokens.shape[1], device=tokens.device)
        tokens.masked_fill_(places >= output.num_sampled[:, None], -1)
        rows = batch.input_ids[batch.logits_indices].tolist()
        after([rows[first + 1 : last] for first, last in pairwise(batch.cu_num_logits.tolist())], tokens)
        tokens.masked_fill_(~samples[:, None], -1)
        output.num_sampled.copy_((tokens >= 0).sum(-1))
        output.num_rejected.copy_(scheduled - output.num_sampled)
        return output

    rejection.__class__ = type(own.__name__, (own,), {"__call__": call, "__module__": own.__module__})


def around_sampler(runner: Any, before: Callable[[torch.Tensor], None], after: Callable[[torch.Tensor], None]) -> None:
    """Call ``before`` with the logits of each step before a worker samples from them, and ``after`` with the tokens, which may
    be changed. A rank that does not sample has no sampler."""
    sampler = getattr(runner, "sampler", None)
    if sampler is None:
        return
    own = type(sampler)

    def call(self, *args, **kwargs):
        before(kwargs.get("logits", args[0] if args else None))
        output = own.__call__(self, *args, **kwargs)
        after(output.sampled_token_ids)
        return output

    sampler.__class__ = type(own.__name__, (own,), {"__call__": call, "__module__": own.__module__})
