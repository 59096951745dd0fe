"""A server whose observation would miss a part is refused in one line that says what to do."""

from __future__ import annotations

from argparse import Namespace
from types import SimpleNamespace

import pytest

from harness.engines.vllm.attach.observable import of_another_model, of_other_messages, unobservable

ALONE = {
    "data_parallel_size": 4,
    "data_parallel_size_local": 4,
    "local_engines_only": False,
    "pipeline_parallel_size": 2,
    "tensor_parallel_size": 4,
    "nnodes": 1,
}


def test_ranks_of_one_host_are_observed_together() -> None:
    assert unobservable(SimpleNamespace(**ALONE)) == ""


def test_a_host_that_speaks_to_its_own_engines_alone_is_observed_whatever_others_have() -> None:
    assert unobservable(SimpleNamespace(**{**ALONE, "data_parallel_size": 8, "local_engines_only": True})) == ""


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("data_parallel_size_local", "2 of its 4 data-parallel engines are on other hosts"),
        ("nnodes", "on 2 hosts"),
        ("use_ubatching", "--enable-dbo or --ubatch-size: "),
        ("prefill_context_parallel_size", "--prefill-context-parallel-size"),
        ("decode_context_parallel_size", "--decode-context-parallel-size"),
    ],
)
def test_what_would_be_seen_in_part_is_refused(field: str, said: str) -> None:
    why = unobservable(SimpleNamespace(**{**ALONE, field: 2}))
    assert said in why and "\n" not in why


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_server_of_its_checkpoint_computes_what_that_says(nothing: dict | None) -> None:
    assert of_another_model(SimpleNamespace(quantization=None, hf_overrides=nothing)) == ""


@pytest.mark.parametrize(
    ("apart", "said"),
    [
        ({"quantization": "fp8", "hf_overrides": {}}, "--quantization fp8,"),
        ({"quantization": None, "hf_overrides": {"sliding_window": 8}}, "--hf-overrides {'sliding_window': 8},"),
    ],
)
def test_a_server_of_another_model_than_its_checkpoint_s_is_refused(apart: dict, said: str) -> None:
    why = of_another_model(SimpleNamespace(**apart))
    assert said in why and "\n" not in why


def messages(template: str | None = None, **config: object) -> str:
    return of_other_messages(Namespace(chat_template=template), SimpleNamespace(mm_processor_kwargs=None, **config))


def test_options_that_make_other_tokens_of_messages_are_named() -> None:
    assert messages() == messages(media_io_kwargs={}) == of_other_messages(Namespace(chat_template=None), None) == ""
    assert messages("other.jinja") == "--chat-template other.jinja"
    assert messages("a", media_io_kwargs={"video": {"num_frames": 4}}) == (
        "--chat-template a and --media-io-kwargs {'video': {'num_frames': 4}}"
    )
