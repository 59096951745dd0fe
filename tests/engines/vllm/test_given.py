"""Engine arguments are checked against what the installed release of vLLM declares, without importing it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import pytest

from harness.campaigns.mutation import NO_VIDEO
from harness.compare.setting import Setting
from harness.engines.adapter import Asked
from harness.engines.vllm import arguments, given
from harness.engines.vllm.release import Release, release_of
from harness.errors import EnvironmentFailure, UsageError
from harness.families.checkpoint import model
from harness.families.limits import LONGEST
from harness.families.registry import preset
from harness.prompts.model_spec import ModelSpec

SPEC = preset("tiny")


def check(
    *texts: str,
    items: Mapping[str, int] | None = None,
    before: tuple[int, ...] = (),
    spec: ModelSpec = SPEC,
    **options: object,
) -> None:
    own = tuple(map(arguments.read, texts))
    arguments.check_own(own)
    setting = Setting.of(arguments=own, **options)
    asked = Asked(setting.engine, setting.scenario, (), spec, (13,), before, items or {})
    given.check(asked, release_of(sys.executable), "of this test")


def test_every_prompt_of_a_request_is_served_with_what_is_given() -> None:
    images = 'limit_mm_per_prompt={"image": 1}'
    check(images, items={"image": 1, "video": 1})
    with pytest.raises(UsageError, match="at least the 2 of image"):
        check(images, items={"image": 2})
    check("max_model_len=21", before=(20,))
    with pytest.raises(UsageError, match="21 to 512 tokens"):
        check("max_model_len=20", before=(20,))


@pytest.mark.parametrize(("layers", "prompts"), [(6, 16), (60, 12)])
def test_no_prompt_is_longer_than_the_kv_cache(layers: int, prompts: int) -> None:
    spec = model("31b", "dummy", layers).with_(max_length=LONGEST)
    check(f"max_model_len={prompts * LONGEST}", spec=spec)
    with pytest.raises(UsageError, match=f"14 to {prompts * LONGEST} tokens"):
        check(f"max_model_len={prompts * LONGEST + 1}", spec=spec)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('limit_mm_per_prompt={"image": 1, "image": 2}', "image 2 times"),
        ("mm_encoder_attn_backend=NOPE", "one of vLLM's back ends: .*TRITON_ATTN"),
        ("mm_processor_cache_gb=1e308", "at most 1024"),
    ],
)
def test_a_value_of_the_right_type_that_the_engine_has_no_use_for(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check(text)


@pytest.mark.parametrize(
    "text",
    [
        "max_model_len=256",
        "max_num_seqs=8",
        "scheduling_policy=priority",
        "long_prefill_token_threshold=64",
        "attention_config={}",
        "moe_backend=auto",
        "mm_processor_cache_gb=0.5",
    ],
)
def test_what_schedules_or_executes_may_be_given(text: str) -> None:
    check(text)


@pytest.mark.parametrize("text", ["compilation_config={}", "cudagraph_capture_sizes=[1, 2]"])
def test_what_concerns_compiling_goes_with_it(text: str) -> None:
    check(text, mode="compiled", backend="cpu")
    with pytest.raises(UsageError, match="--mode compiled"):
        check(text)


def step(*texts: str, platform: str = "cpu", chunk: int = 69) -> None:
    own = tuple(map(arguments.read, texts))
    setting = Setting.of(arguments=own, chunk=chunk, backend="triton" if platform == "cpu" else "auto")
    given.check_step(setting.engine, setting.scenario, SPEC, release_of(sys.executable), platform)


UNSPLIT, STILL = "disable_chunked_mm_input=true", 'limit_mm_per_prompt={"video": 0}'


@pytest.mark.parametrize("where", [{"platform": "cuda"}, {"platform": "cpu"}], ids=["cuda", "cpu"])
def test_a_step_holds_the_largest_item_where_none_is_split(where: dict[str, str]) -> None:
    words = [UNSPLIT] if where["platform"] == "cpu" else []
    with pytest.raises(UsageError, match=r"chunk: 69 is not allowed; 2496 and more: .* 70 of image and 2496 of video"):
        step(*words, **where)
    with pytest.raises(UsageError, match=r"chunk: 69 is not allowed; 70 and more: .* 70 of image; "):
        step(*words, STILL, **where)
    step(*words, STILL, **where, chunk=70)
    step(*words, **where, chunk=2496)
    step(*words, 'limit_mm_per_prompt={"video": 0, "image": 0}', **where)


def test_a_step_may_be_smaller_where_images_are_split() -> None:
    step()


@pytest.mark.parametrize(("name", "option"), arguments.OPTIONS.items())
def test_what_the_harness_sets_is_refused_with_the_option(name: str, option: str) -> None:
    assert name in release_of(sys.executable).arguments
    with pytest.raises(UsageError, match=f"use {option}"):
        check(f"{name}=1")


def test_everything_that_the_harness_sets_is_refused() -> None:
    own = Setting().engine.engine_arguments(SPEC, Setting().scenario, "cuda")
    assert set(own) <= {*arguments.OPTIONS, *arguments.OWN, *arguments.MAY_BE_GIVEN}
    given = {"max_model_len", "max_num_seqs", "limit_mm_per_prompt", "num_gpu_blocks_override"}
    assert set(own) & set(arguments.MAY_BE_GIVEN) == given


def test_a_small_kv_cache_holds_a_request_of_the_longest_length() -> None:
    check("max_model_len=120", "num_gpu_blocks_override=11")
    with pytest.raises(
        UsageError, match=r"num_gpu_blocks_override=10. is not allowed; 11 and more: one request of the 120 tokens"
    ):
        check("max_model_len=120", "num_gpu_blocks_override=10")


@pytest.mark.parametrize("name", ["lora_dtype", "max_lora_rank", "default_mm_loras"])
def test_an_adapter_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UsageError, match="an adapter changes what is to be computed"):
        check(f"{name}=1")


def test_an_implementation_that_cannot_be_observed_is_refused_with_the_reason() -> None:
    check("model_impl=vllm")
    with pytest.raises(
        UsageError, match="auto or vllm: in that of transformers layers and weights have other"
    ) as refused:
        check("model_impl=transformers")
    assert "\n" not in str(refused.value)


def test_what_a_search_gives_may_be_given_by_the_command_that_reproduces_it() -> None:
    check("=".join(NO_VIDEO))


@pytest.mark.parametrize(
    "value", ['{"image": -1}', '{"image": 65}', '{"picture": 1}', '{"image": true}', '{"image": {}}', "[]", "3"]
)
def test_limits_are_numbers_of_what_a_prompt_has(value: str) -> None:
    with pytest.raises(UsageError, match="limit_mm_per_prompt"):
        check(f"limit_mm_per_prompt={value}")


@pytest.mark.parametrize("value", ["auto", "vllm", '"auto"'])
def test_what_is_done_after_the_model_may_be_given(value: str) -> None:
    check(f"generation_config={value}")


def test_a_generation_config_is_a_folder_that_has_one(tmp_path, monkeypatch) -> None:
    (tmp_path / "of").mkdir()
    (tmp_path / "of/generation_config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    check("generation_config=of")
    assert arguments.read("generation_config=of")[1] == str(tmp_path / "of")


@pytest.mark.parametrize("content", [None, "", "[]", "{", b"\xff", "[" * 100_000])
def test_a_folder_without_a_generation_config_that_can_be_read_is_refused(tmp_path, content) -> None:
    if content is not None:
        file = tmp_path / "generation_config.json"
        file.write_bytes(content) if isinstance(content, bytes) else file.write_text(content)
    with pytest.raises(
        UsageError, match=r"serving-arg: 'generation_config=.* is not allowed; .*generation_config\.json"
    ):
        check(f"generation_config={tmp_path}")


@pytest.mark.parametrize("tokens", [[10**6], 40, ["40"]], ids=str)
def test_a_generation_config_that_suppresses_no_token_of_the_vocabulary_is_refused(tmp_path, tokens) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"suppress_tokens": tokens}))
    with pytest.raises(
        UsageError, match=r"^serving-arg: 'generation_config=.*generation_config\.json: suppress_tokens: "
    ):
        check(f"generation_config={tmp_path}")


@pytest.mark.parametrize("value", ["3", "none/such", "google/gemma-4-31B-it"])
def test_what_is_no_folder_is_no_generation_config(value: str) -> None:
    with pytest.raises(UsageError, match="serving-arg: "):
        check(f"generation_config={value}")


def test_every_other_argument_of_the_release_is_refused() -> None:
    others = set(release_of(sys.executable).arguments) - set(arguments.MAY_BE_GIVEN)
    assert len(others) > 100
    for name in others:
        with pytest.raises(UsageError, match="serving-arg: "):
            check(f"{name}=1")


def test_arguments_are_in_the_label_and_so_in_every_report() -> None:
    label = Setting.of(arguments=(("max_num_seqs", "8"),), block_size=48).label
    assert label.endswith("block 48 max_num_seqs=8")


@pytest.mark.parametrize(
    ("backend", "sizes"), [("TRITON_ATTN", (16,)), ("CPU_ATTN", (32,)), ("FLASH_ATTN", ()), ("NONE_SUCH", ())]
)
def test_block_sizes_are_those_of_the_backend(backend: str, sizes: tuple[int, ...]) -> None:
    assert release_of(sys.executable).block_sizes(backend) == sizes


def test_a_release_that_declares_nothing_is_told(tmp_path) -> None:
    with pytest.raises(EnvironmentFailure, match="no EngineArgs"):
        Release(tmp_path).arguments  # noqa: B018
    assert Release(tmp_path).block_sizes("TRITON_ATTN") == ()
