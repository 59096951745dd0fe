"""A message goes through a chat template in the form that the template takes."""

from __future__ import annotations

from functools import partial

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast
from transformers.processing_utils import ProcessorMixin

from harness.references.transformers.processing import give_template, takes_parts

EACH = "{% for message in messages %}"
PARTS = "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}"
EITHER = "{% if message['content'] is string %}{{ message['content'] }}{% else %}" + PARTS + "{% endif %}"


class Words(ProcessorMixin):
    """Of a tokenizer alone."""

    attributes = ("tokenizer",)
    tokenizer_class = "PreTrainedTokenizerFast"

    def __init__(self, tokenizer: PreTrainedTokenizerFast, chat_template: str | None = None) -> None:
        super().__init__(tokenizer, chat_template=chat_template)


def words() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"w": 0}, "w")))


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        (PARTS, True),
        (EITHER, True),
        ("{{ message['content'] }}", False),
        ("{{ message['content'] | trim }}", False),
        ("{{ 'user: ' + message['content'] }}", False),
        ("{{ message['content'].strip() }}", False),
        ("{{ message['content'] | tojson }}", False),
        ("{% if message['content'] is string %}{{ message['content'] }}{% endif %}", False),
        (
            "{% if message['content'] is not string %}{{ raise_exception('text!') }}{% endif %}{{ message['content'] }}",
            False,
        ),
        ("{% for part in message['content'] %}{{ part['text'] | upper | trim }} {% endfor %}", True),
    ],
)
def test_a_template_that_does_not_take_a_list_apart_takes_text(template: str, parts: bool) -> None:
    tokenizer = words()
    whole = f"{EACH}{template}{{% endfor %}}"
    assert takes_parts(partial(tokenizer.apply_chat_template, chat_template=whole)) is parts


@pytest.mark.parametrize(
    ("own", "tokenizers", "meant"),
    [
        ("a", "b", "a"),
        (None, "b", "b"),
        (None, {"default": "b", "tool_use": "c"}, "b"),
        (None, None, None),
    ],
)
def test_the_tokenizer_has_the_template_where_the_processor_has_none(own, tokenizers, meant: str | None) -> None:
    processor = Words(words(), own)
    processor.tokenizer.chat_template = tokenizers
    assert give_template(processor) is (meant is not None) and processor.chat_template == meant
