"""Prints what the transformers of this interpreter makes of checkpoints: a line of JSON each. Run as a program, with
``preset=directory`` for each."""

from __future__ import annotations

import json
import sys

import torch
import transformers
from transformers import Gemma4ForConditionalGeneration

from harness.families.gemma4.presets import PRESETS
from harness.families.gemma4.prompts import prompt_for
from harness.prompts.layout import Layout


@torch.no_grad()
def facts(name: str, directory: str) -> dict:
    model, info = Gemma4ForConditionalGeneration.from_pretrained(
        directory,
        dtype=torch.float64,
        attn_implementation="eager",
        experts_implementation="eager",
        output_loading_info=True,
    )
    ids = torch.tensor([prompt_for(Layout.parse("t30"), PRESETS[name]).token_ids])
    logits = (
        model.to(torch.float64).eval()(input_ids=ids, mm_token_type_ids=torch.zeros_like(ids), use_cache=True).logits
    )
    wrong = sorted(str(key) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in info[kind])
    return {
        "release": transformers.__version__,
        "wrong": wrong,
        "sums": [logits.sum().item(), logits.abs().sum().item()],
    }


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(json.dumps(facts(*argument.split("=", 1))), flush=True)
