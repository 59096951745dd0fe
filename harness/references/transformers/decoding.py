"""Decoding with the reference's own cache, through `generate` and all that it prepares, with the tokens given."""

from __future__ import annotations

import torch


class Given:
    """A logits processor that leaves one token at each step: that of ``tokens`` (prompts, all positions) at the step's
    position."""

    def __init__(self, tokens: torch.Tensor) -> None:
        self.tokens = tokens

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        at = min(input_ids.shape[1], self.tokens.shape[1] - 1)
        return torch.full_like(scores, float("-inf")).scatter_(1, self.tokens[:, at, None], 0.0)


def decoded(model, arguments: dict, types: str, steps: int) -> torch.Tensor:
    """Logits (prompts, ``steps`` + 1, V) of the last ``steps`` + 1 positions of ``input_ids``: the prompt is all but the last
    ``steps`` tokens, those are decoded one by one from the dynamic cache that `generate` makes by itself. ``types`` is the name
    of the argument that has the tokens' types."""
    own = {name: value.to(model.dtype) if value.is_floating_point() else value for name, value in arguments.items()}
    own |= {name: own[name][:, :-steps] for name in ("input_ids", types)}
    answer = model.generate(
        **own,
        attention_mask=torch.ones_like(own["input_ids"]),
        max_new_tokens=steps + 1,
        do_sample=False,
        logits_processor=[Given(arguments["input_ids"])],
        return_dict_in_generate=True,
        output_logits=True,
    )
    return torch.stack(answer.logits, dim=1)
