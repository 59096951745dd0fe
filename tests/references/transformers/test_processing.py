"""A message goes through a chat template in the form that the template takes."""

from __future__ import annotations

from functools import partial

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from harness.references.transformers.processing import takes_parts

EACH = "{% for message in messages %}"
PARTS = "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}"
EITHER = "{% if message['content'] is string %}{{ message['content'] }}{% else %}" + PARTS + "{% endif %}"


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        (PARTS, True),
        (EITHER, True),
        ("{{ message['content'] }}", False),
        ("{{ message['content'] | trim }}", False),
        ("{{ 'user: ' + message['content'] }}", False),
    ],
)
def test_a_template_that_prints_a_list_or_fails_with_it_takes_text(template: str, parts: bool) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"w": 0}, "w")))
    whole = f"{EACH}{template}{{% endfor %}}"
    assert takes_parts(partial(tokenizer.apply_chat_template, chat_template=whole)) is parts
