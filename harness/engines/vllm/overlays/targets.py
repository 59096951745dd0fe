"""The places in vLLM where overlays reach in, each changed in this worker only.

- ranges: `CommonAttentionMetadata.mm_req_doc_ranges`, which both model runners hand to
  `AttentionMetadataBuilder.build` (`v1/attention/backends/*.py`);
- layers: attributes of the attention layers of the language model;
- kernel: the text of a Triton function of `v1/attention/ops/`, recompiled with one place changed.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
import tempfile
import types
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness.engines.vllm import releases
from harness.engines.vllm.overlays.changes import Changes
from harness.errors import OverlayRefused

Ranges = list[tuple[int, int]]


@dataclass(frozen=True)
class Batch:
    """What a change of ranges may look at: per request the ranges, prompt tokens seen so far and before this step."""

    ranges: dict[int, Ranges]
    seq_lens: list[int]
    context_lens: list[int]
    window: int


def change_ranges(change: Callable[[int, Ranges, Batch], Ranges]):
    """An overlay's `apply` that replaces the ranges of each request by ``change(index, ranges, batch)``."""

    def apply(worker, changes: Changes) -> None:
        window = worker.model_runner.model_config.hf_text_config.sliding_window
        for builder in _builders(worker):
            original = builder.build

            def build(self, common_prefix_len, common_attn_metadata, *args, original=original, **kwargs):
                found = common_attn_metadata.mm_req_doc_ranges
                if found is not None:
                    batch = _batch(found, common_attn_metadata, window)
                    changed = {index: change(index, list(ranges), batch) for index, ranges in found.items()}
                    common_attn_metadata = dataclasses.replace(common_attn_metadata, mm_req_doc_ranges=changed)
                return original(self, common_prefix_len, common_attn_metadata, *args, **kwargs)

            changes.set(builder, "build", build)

    return apply


def change_blocks(change: Callable[[Any, list[int]], None]):
    """An overlay's `apply` that calls ``change(table, rows)`` with a copy of each step's block table (requests, blocks), which it
    changes, and the requests of which something was computed in steps before."""

    def apply(worker, changes: Changes) -> None:
        for builder in _builders(worker):
            original = builder.build

            def build(self, common_prefix_len, common_attn_metadata, *args, original=original, **kwargs):
                common = common_attn_metadata
                starts, lengths = common.query_start_loc_cpu.tolist(), common.seq_lens.tolist()
                new = [end - start for start, end in pairwise(starts)]
                rows = [row for row, tokens in enumerate(new) if 0 < tokens < lengths[row]]
                if rows:
                    table = common.block_table_tensor.clone()
                    change(table, rows)
                    common = dataclasses.replace(common, block_table_tensor=table)
                return original(self, common_prefix_len, common, *args, **kwargs)

            changes.set(builder, "build", build)

    return apply


def change_layers(change: Callable[[Any, Changes], None]):
    """An overlay's `apply` that calls ``change(layer, changes)`` for each attention layer of the language model."""

    def apply(worker, changes: Changes) -> None:
        for layer in _attention_layers(worker):
            change(layer, changes)

    return apply


def decoding(metadata: Any) -> bool:
    """Whether a step computes one token of each request, behind others."""
    return metadata.max_query_len == 1 and metadata.max_seq_len > 1


def verifying(metadata: Any) -> bool:
    """Whether a step computes several tokens of a request behind others: drafts and the token before them, or a chunk."""
    return 1 < metadata.max_query_len < metadata.max_seq_len


def change_windows_while(condition: Callable[[Any], bool], change: Callable[[tuple[int, int]], tuple[int, int]]):
    """As `change_windows`, in steps whose metadata meet a condition alone."""

    def apply(layer, changes: Changes) -> None:
        original, impls = layer.impl.forward, releases.variants(layer.impl)

        def forward(layer_, query, key, value, kv_cache, attn_metadata, *args, **kwargs):
            own = [impl.sliding_window for impl in impls]
            if attn_metadata is not None and condition(attn_metadata):
                for impl in impls:
                    impl.sliding_window = change(impl.sliding_window)
            try:
                return original(layer_, query, key, value, kv_cache, attn_metadata, *args, **kwargs)
            finally:
                for impl, window in zip(impls, own, strict=True):
                    impl.sliding_window = window

        changes.set(layer.impl, "forward", forward)

    return change_layers(apply)


def change_windows(change: Callable[[tuple[int, int]], tuple[int, int]]):
    """An overlay's `apply` that replaces the (past, future) window, -1 for none, of each kernel of each attention layer."""

    def apply(layer, changes: Changes) -> None:
        for impl in releases.variants(layer.impl):
            changes.set(impl, "sliding_window", change(impl.sliding_window))

    return change_layers(apply)


def change_kernel(function: str, old: str, new: str):
    """An overlay's `apply` that replaces ``old`` by ``new`` in a Triton function of
    `triton_unified_attention`, its kernel or a helper; ``old`` must occur exactly once."""

    def apply(worker, changes: Changes) -> None:
        home = importlib.import_module("vllm.v1.attention.ops.triton_unified_attention")
        source = inspect.getsource(getattr(home, function).fn)
        if source.count(old) != 1:
            raise OverlayRefused(f"{function}: {old!r} occurs {source.count(old)} times, this release is another")
        directory = Path(changes.enter(tempfile.TemporaryDirectory(prefix="harness-overlay-")))
        changes.set(home, function, _compile(source.replace(old, new), function, home, directory))
        kernel = "kernel_unified_attention"
        if function != kernel:
            changes.set(home, kernel, _compile(inspect.getsource(getattr(home, kernel).fn), kernel, home, directory))

    return apply


def _compile(source: str, function: str, home, directory: Path) -> object:
    """Triton reads a function's text from its file, so the changed text gets one of its own.

    The kernel is always made anew, since compiled ones remember the helpers that they were made with.
    """
    path = directory / f"overlaid_{function}.py"
    path.write_text(source)
    module = types.ModuleType(f"overlaid_{function}_{directory.name[16:]}")
    module.__dict__.update({name: value for name, value in home.__dict__.items() if not name.startswith("__")})
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - the release's own source, changed by an overlay
    return module.__dict__[function]


def require_implementation(worker, name: str) -> None:
    """Raise OverlayRefused unless the attention layers of the language model are of this class: a change of another back end's
    code would change nothing."""
    found = {type(impl).__name__ for layer in _attention_layers(worker) for impl in releases.variants(layer.impl)}
    if name not in found:
        raise OverlayRefused(f"this changes {name}, and the engine runs {', '.join(sorted(found))}")


def register(worker, changes: Changes, registered: bool) -> None:
    """Make gemma4 an mm-prefix model, or not: where the configuration says it and where V1's runner remembers it."""
    runner = worker.model_runner
    changes.set(runner.model_config.model_arch_config, "is_mm_prefix_lm", registered)
    if hasattr(runner, "is_mm_prefix_lm"):
        changes.set(runner, "is_mm_prefix_lm", registered)


def _attention_layers(worker) -> list:
    context = worker.model_runner.vllm_config.compilation_config.static_forward_context
    return [layer for name, layer in context.items() if "language_model" in name and hasattr(layer, "impl")]


def _builders(worker) -> list:
    return [backend.get_builder_cls() for backend in {layer.attn_backend for layer in _attention_layers(worker)}]


def _batch(found: dict, common, window: int) -> Batch:
    seq_lens = common.seq_lens.tolist()
    starts = common.query_start_loc_cpu.tolist()
    context = [length - (starts[i + 1] - starts[i]) for i, length in enumerate(seq_lens[: len(starts) - 1])]
    return Batch({index: list(ranges) for index, ranges in found.items()}, seq_lens, context, window)
