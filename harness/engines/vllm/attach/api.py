"""What can be told of a server that was started without the plugin: token ids, and log-probabilities of the likeliest tokens.

No mask is observed, and of the runner, the back end and the weights nothing is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST = 20
"""Tokens of which a server tells the log-probability at each position; vLLM's `--max-logprobs`, unless it is set. A server that
has fewer there is asked for those."""
NEVER = -9998.0
"""What is below stands for a probability of 0: JSON has no infinity."""
PREFIX = "token_id:"
_ALLOWED = re.compile(r"logprobs of \d+, which is greater than max allowed: (\d+)")


def asking(way: str, body: dict[str, Any], most: int = MOST) -> dict[str, Any]:
    """The body of a request that goes this ``way``, with what is to be told: of ``most`` tokens at each position."""
    scores: dict[str, Any] = {"logprobs": most, "prompt_logprobs": most}
    if way == "generate":
        return {**body, "return_token_ids": True, "sampling_params": {**body["sampling_params"], **scores}}
    if way == "chat":
        scores |= {"logprobs": True, "top_logprobs": most}
    return {**body, **scores, "return_token_ids": True, "return_tokens_as_token_ids": True}


def allowed(refusal: str) -> int | None:
    """Of how many tokens a server tells that refused to tell of so many; None where it refused something else.

    Raises:
        RuntimeError: of none.
    """
    found = _ALLOWED.search(refusal)
    if found is None:
        return None
    if found[1] == "0":
        raise RuntimeError("the server tells no log-probabilities: it was started with --max-logprobs 0")
    return int(found[1])


@dataclass(frozen=True)
class Answered:
    """The tokens that a server made of a prompt, and by position the log-probabilities that it told."""

    token_ids: tuple[int, ...]
    scores: Sequence[Mapping[int, float]]

    @classmethod
    def of(cls, way: str, answer: Mapping[str, Any]) -> Answered:
        """Out of the answer to a request.

        Raises:
            RuntimeError: the server left out what it was asked for.
        """
        (choice,) = answer["choices"]
        whose = choice if way == "complete" else answer
        token_ids, prompt = whose.get("prompt_token_ids"), whose.get("prompt_logprobs")
        if token_ids is None or prompt is None or choice.get("logprobs") is None:
            raise RuntimeError("the server's answer has no token ids or log-probabilities of the prompt")
        of_prompt = [{int(token): one["logprob"] for token, one in (each or {}).items()} for each in prompt[1:]]
        return cls(tuple(token_ids), [*of_prompt, dict(_sampled(way, choice["logprobs"]))])

    def tensors(self, rows: Sequence[int], width: int) -> dict[str, np.ndarray]:
        """The tensors of a capture (`harness.captures.read`) with the scores at positions ``rows`` among ``width`` tokens."""
        scores = np.zeros((len(rows), width), dtype=np.float32)
        told = np.zeros((len(rows), width), dtype=np.uint8)
        for place, row in enumerate(rows):
            for token, score in self.scores[row].items():
                if score > NEVER and token < width:
                    scores[place, token], told[place, token] = score, 1
        count = len(self.token_ids)
        return {
            "logits": scores[None],
            "told": told[None],
            "observed": np.zeros((1, count), dtype=np.uint8),
            "computed": np.ones((1, count), dtype=np.uint8),
        }


def _sampled(way: str, told: Mapping[str, Any]) -> Iterator[tuple[int, float]]:
    """Of the token that was sampled, and of those that might have been."""
    if way == "complete":
        for token, score in told["top_logprobs"][0].items():
            yield int(token.removeprefix(PREFIX)), score
        return
    for one in told["content"][0]["top_logprobs"]:
        yield int(one["token_id"]) if way == "generate" else int(one["token"].removeprefix(PREFIX)), one["logprob"]
