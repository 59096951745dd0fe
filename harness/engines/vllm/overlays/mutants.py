"""Mutants: faults that a real change could bring. They exist only in the worker of the run that names them."""

from __future__ import annotations

from harness.engines.vllm.overlays.changes import Changes
from harness.engines.vllm.overlays.overlay import Needs, Overlay
from harness.engines.vllm.overlays.scenario_mutants import SCENARIO_MUTANTS
from harness.engines.vllm.overlays.targets import (
    Batch,
    Ranges,
    change_blocks,
    change_kernel,
    change_layers,
    change_ranges,
    change_windows,
    change_windows_while,
    decoding,
    register,
)
from harness.engines.vllm.releases import layer_metadata, model_of
from harness.errors import OverlayRefused

HELPERS = "triton_attention_helpers"
KERNEL = "triton_unified_attention"
BUILD = ("AttentionMetadataBuilder.build",)
GEMMA4 = ("gemma4",)


def _ranges(name: str, sentence: str, change, source: str = "", **more) -> Overlay:
    return Overlay(name, "mutant", sentence, BUILD, change_ranges(change), source, **more)


def _kernel(
    name: str, sentence: str, module: str, function: str, old: str, new: str, source: str = "", **more
) -> Overlay:
    changes = (f"v1.attention.ops.{module}.{function}",)
    apply = change_kernel(function, old, new)
    return Overlay(name, "mutant", sentence, changes, apply, source, implementation="TritonAttentionImpl", **more)


def _each(change):
    """A change of single ranges as a change of a request's ranges."""
    return lambda index, ranges, batch: [change(start, end) for start, end in ranges]


def _keep_if(keep):
    return lambda index, ranges, batch: [r for r in ranges if keep(r, batch)]


def _shift_by_context(index: int, ranges: Ranges, batch: Batch) -> Ranges:
    offset = batch.context_lens[index]
    return [(start + offset, end + offset) for start, end in ranges]


def _of_the_next_request(index: int, ranges: Ranges, batch: Batch) -> Ranges:
    return batch.ranges.get((index + 1) % len(batch.seq_lens), [])


def _merged(index: int, ranges: Ranges, batch: Batch) -> Ranges:
    return [(min(s for s, _ in ranges), max(e for _, e in ranges))] if ranges else []


def _from_the_step(index: int, ranges: Ranges, batch: Batch) -> Ranges:
    context = batch.context_lens[index]
    decodes = context and batch.seq_lens[index] == context + 1
    return [(context, context + end - start) for start, end in ranges] if decodes else ranges


def _block_of_another(table, rows: list[int]) -> None:
    first = table[rows, 0]
    table[rows, 0] = (first - 1).clamp(min=1)


def _encoded_by_size(worker, changes: Changes) -> None:
    from vllm.v1.core.sched.scheduler import Scheduler

    original = Scheduler.add_request

    def add_request(self, request):
        for feature in request.mm_features:
            feature.identifier = f"{feature.modality} of {feature.mm_position.length}"
        return original(self, request)

    changes.set(Scheduler, "add_request", add_request)


def _hit_of_the_longest_group(worker, changes: Changes) -> None:
    from vllm.v1.core.kv_cache_coordinator import HybridKVCacheCoordinator

    def find(self, block_hashes, max_cache_hit_length):
        found, lengths = self.find_longest_cache_hit_per_group(block_hashes, max_cache_hit_length)
        longest = max(lengths)
        for blocks, manager in zip(found, self.single_type_managers, strict=True):
            missing = longest // manager.block_size - len(blocks)
            blocks.extend([self.block_pool.null_block] * missing)
        return found, longest, 0

    changes.set(HybridKVCacheCoordinator, "find_longest_cache_hit", find)


def _decoded_key_lost(layer, changes: Changes) -> None:
    if not hasattr(layer.impl, "do_kv_cache_update"):
        raise OverlayRefused("this leaves out the cache write, which this back end does in its forward")
    original = layer.impl.do_kv_cache_update

    def update(layer_, *written):
        if not decoding(layer_metadata(layer_.layer_name)):
            original(layer_, *written)

    changes.set(layer.impl, "do_kv_cache_update", update)


def _no_registration(worker, changes: Changes) -> None:
    register(worker, changes, False)


def _not_cleared(worker, changes: Changes) -> None:
    changes.set(model_of(worker), "_clear_mm_prefix_for_full_attn_layers", lambda: None)


def _cleared_everywhere(worker, changes: Changes) -> None:
    types = worker.model_runner.model_config.hf_text_config.layer_types
    changes.set(model_of(worker), "_full_attn_layer_idxs", frozenset(range(len(types))))


def _key_scales_doubled(worker, changes: Changes) -> None:
    from vllm.v1.attention.backends import triton_attn

    store = triton_attn.triton_reshape_and_cache_flash_per_token_head_quant

    def doubled(key, value, key_cache, value_cache, k_scale_cache, v_scale_cache, slot_mapping, *more, **named):
        store(key, value, key_cache, value_cache, k_scale_cache, v_scale_cache, slot_mapping, *more, **named)
        written = slot_mapping[slot_mapping >= 0]
        block, slot = written // key_cache.shape[1], written % key_cache.shape[1]
        k_scale_cache[block, slot] *= 2

    changes.set(triton_attn, "triton_reshape_and_cache_flash_per_token_head_quant", doubled)


def _flash_without_window(worker, changes: Changes) -> None:
    from vllm.v1.attention.backends import flash_attn

    original = flash_attn._make_mm_prefix_mask_mod

    def without(*ranges, sliding_window=0, **text):
        return original(*ranges, sliding_window=sliding_window)

    changes.set(flash_attn, "_make_mm_prefix_mask_mod", without)


def _unclamped(layer, changes: Changes) -> None:
    changes.set(layer, "mm_prefix_clamp_sliding_window", False)


def _wider(window: tuple[int, int]) -> tuple[int, int]:
    past, future = window
    return (past + 1, future) if past >= 0 else window


def _window_everywhere(worker, changes: Changes) -> None:
    window = worker.model_runner.model_config.hf_text_config.sliding_window
    change_windows(lambda own: (window - 1, 0))(worker, changes)


def _registered(worker, changes: Changes) -> None:
    register(worker, changes, True)


def _keys_without_images(worker, changes: Changes) -> None:
    from vllm.v1.core import kv_cache_utils

    def none(request, start_token_idx, end_token_idx, start_mm_idx):
        return [], start_mm_idx

    changes.set(kv_cache_utils, "_gen_mm_extra_hash_keys", none)


def _whole_placeholder(worker, changes: Changes) -> None:
    from vllm.multimodal.inputs import PlaceholderRange

    def whole(self):
        return [(self.offset, self.offset + self.length - 1)]

    changes.set(PlaceholderRange, "extract_embeds_range", whole)


def _frames_merged(worker, changes: Changes) -> None:
    from vllm.multimodal.inputs import PlaceholderRange

    original = PlaceholderRange.extract_embeds_range

    def merged(self):
        ranges = original(self)
        return [(ranges[0][0], ranges[-1][1])] if ranges else []

    changes.set(PlaceholderRange, "extract_embeds_range", merged)


def _guard(keep):
    """The V2 runner's range guard with another comparison: ``keep(length, window)``."""

    def apply(worker, changes: Changes) -> None:
        from vllm.v1.worker.gpu.model_states import default

        original = default.compute_mm_prefix_ranges

        def ranges(req_ids, mm_features, sliding_window=None):
            found = original(req_ids, mm_features)
            return {i: [r for r in kept if keep(r[1] - r[0] + 1, sliding_window)] for i, kept in found.items()}

        changes.set(default, "compute_mm_prefix_ranges", ranges)

    return apply


def _guard_mutant(name: str, sentence: str, keep) -> Overlay:
    changes = ("v1.worker.gpu.model_states.default.compute_mm_prefix_ranges",)
    return Overlay(name, "mutant", sentence, changes, _guard(keep), "vllm PR #40534", needs=Needs.RANGE_GUARD)


_CAUSAL = "    elif USE_CAUSAL:\n        seq_mask = seq_offset[None, :] <= query_abs_pos"
_PAIR_WINDOW = "mm_mask = mm_mask & ((query_abs_pos - seq_offset) < SLIDING_WINDOW)"

MUTANTS = [
    Overlay("no-registration", "mutant", "gemma4 is not an mm-prefix model: no ranges at all",
            ("ModelArchConfig.is_mm_prefix_lm",), _no_registration, "vllm #40106"),
    Overlay("full-layers-not-cleared", "mutant", "full layers keep the ranges",
            ("Gemma4ForConditionalGeneration._clear_mm_prefix_for_full_attn_layers",), _not_cleared, "vllm PR #40534",
            families=GEMMA4),
    Overlay("sliding-layers-cleared-too", "mutant", "the ranges of every layer are cleared",
            ("Gemma4ForConditionalGeneration._full_attn_layer_idxs",), _cleared_everywhere, "vllm PR #40534", families=GEMMA4),
    _guard_mutant("guard-at-least-window", "the guard drops a span of exactly the window (>= for >)", lambda n, w: n < w),
    _guard_mutant("guard-window-minus-one", "the guard compares with window - 1", lambda n, w: n <= w - 1),
    _guard_mutant("guard-window-plus-one", "the guard compares with window + 1", lambda n, w: n <= w + 1),
    _guard_mutant("guard-half-window", "the guard compares with half the window", lambda n, w: n <= w // 2),
    _ranges("range-end-exclusive", "the last soft token is outside its range", _each(lambda s, e: (s, e - 1))),
    _ranges("range-start-plus-one", "the first soft token is outside its range", _each(lambda s, e: (s + 1, e))),
    _ranges("range-start-minus-one", "the range begins at boi", _each(lambda s, e: (max(s - 1, 0), e))),
    _ranges("range-end-plus-one", "the range ends at eoi", _each(lambda s, e: (s, e + 1))),
    _ranges("ranges-shifted-by-context", "ranges are shifted by the tokens computed before the chunk", _shift_by_context,
            "vllm #47332", needs=Needs.CHUNKS),
    _ranges("ranges-of-another-request", "each request gets the ranges of the next in the batch", _of_the_next_request,
            "sglang-jax #1023", needs=Needs.BATCH),
    _ranges("ranges-of-two-requests", "the third request of a batch and those after it have no ranges",
            lambda i, r, b: r if i < 2 else [], "vllm #47332", needs=Needs.BATCH),
    _ranges("only-the-first-image", "later images have no range", lambda i, r, b: r[:1], "vllm #20543"),
    _ranges("only-the-last-image", "earlier images have no range", lambda i, r, b: r[-1:], "vllm #20543"),
    _ranges("images-merged", "one range from the first image to the last", _merged),
    _ranges("span-at-zero-dropped", "a range that begins at position 0 is taken for padding", _keep_if(lambda r, b: r[0] > 0)),
    _ranges("single-token-spans-dropped", "a range of one token is dropped", _keep_if(lambda r, b: r[0] < r[1]),
            equivalent="a token always attends itself, so a range of one token adds no pair"),
    _ranges("two-token-spans-dropped", "a range of two tokens is dropped", _keep_if(lambda r, b: r[1] - r[0] != 1)),
    _ranges("bidirectional-text", "the whole prompt is one range", lambda i, r, b: [(0, b.seq_lens[i] - 1)] if r else []),
    Overlay("is-embed-lost", "mutant", "the range covers the whole placeholder, boi and eoi too",
            ("PlaceholderRange.extract_embeds_range",), _whole_placeholder, "vllm #54548"),
    Overlay("video-frames-merged", "mutant", "the frames of a video are one range",
            ("PlaceholderRange.extract_embeds_range",), _frames_merged, families=GEMMA4),
    Overlay("window-not-applied-to-images", "mutant", "image pairs are not bounded by the window",
            ("Attention.mm_prefix_clamp_sliding_window",), change_layers(_unclamped), "vllm PR #47217", families=GEMMA4),
    Overlay("window-not-applied-at-all", "mutant", "sliding layers have no window",
            ("AttentionImpl.sliding_window",), change_windows(lambda window: (-1, -1)), "vllm #17180"),
    Overlay("flash-window-not-applied-beside-images", "mutant", "FlashAttention 4's mask function has no window for text",
            ("v1.attention.backends.flash_attn._make_mm_prefix_mask_mod",), _flash_without_window, "vllm #47300, #47332",
            implementation="FlashAttentionImpl"),
    Overlay("window-on-full-layers", "mutant", "full layers have the window of the sliding ones",
            ("AttentionImpl.sliding_window",), _window_everywhere, "vllm #21863"),
    Overlay("ranges-without-the-flag", "mutant", "image ranges whatever `use_bidirectional_attention` says",
            ("ModelArchConfig.is_mm_prefix_lm",), _registered, "quic efficient-transformers #1159", needs=Needs.NO_FLAG,
            families=GEMMA4),
    Overlay("prefix-keys-without-images", "mutant", "a block's prefix-cache key is made of its tokens alone",
            ("v1.core.kv_cache_utils._gen_mm_extra_hash_keys",), _keys_without_images, "vllm #20261",
            needs=Needs.CACHED),
    Overlay("hit-of-the-longest-group", "mutant", "a prefix hit is as long as that of the layers that have the most of it left",
            ("v1.core.kv_cache_coordinator.HybridKVCacheCoordinator.find_longest_cache_hit",), _hit_of_the_longest_group,
            releases=">=0.32,<0.34", needs=Needs.EVICTED),
    _kernel("image-pairs-lost-from-128", "image pairs are lost where the key's position needs an eighth bit", HELPERS,
            "compute_kv_seq_mask", _PAIR_WINDOW, _PAIR_WINDOW + " & (seq_offset < 128)", needs=Needs.LONG),
    Overlay("decode-without-window", "mutant", "the window is off in steps of one token a request",
            ("AttentionImpl.sliding_window",), change_windows_while(decoding, lambda window: (-1, -1)), "vllm #17180",
            needs=Needs.DECODE),
    Overlay("decode-window-plus-one", "mutant", "the window keeps W + 1 keys in steps of one token a request",
            ("AttentionImpl.sliding_window",), change_windows_while(decoding, _wider), "vllm #3385", needs=Needs.DECODE),
    _ranges("decode-ranges-from-the-step", "in a step of decoding ranges are counted from its token", _from_the_step,
            "openvino #36708", needs=Needs.DECODE),
    Overlay("decoded-keys-not-written", "mutant", "keys and values of decoded tokens do not get into the cache",
            ("AttentionImpl.do_kv_cache_update",), change_layers(_decoded_key_lost), needs=Needs.DECODE),
    Overlay("freed-block-read", "mutant", "behind the first step a request reads a block of another one for its first",
            BUILD, change_blocks(_block_of_another), "vllm #47282", needs=Needs.DECODE),
    Overlay("encoder-outputs-by-size", "mutant", "the encoder cache takes an item for another one of the same size",
            ("v1.core.sched.scheduler.Scheduler.add_request",), _encoded_by_size, needs=Needs.OTHER_PICTURES),
    _kernel("slot-behind-the-sequence", "the last token of a request also reads the slot behind it, which is free", HELPERS,
            "compute_kv_seq_mask", _CAUSAL, _CAUSAL + " + tl.where(query_abs_pos == seq_len - 1, 1, 0)", "vllm #53628"),
    _kernel("image-window-future-only", "image pairs are bounded towards later tokens instead of earlier ones", HELPERS,
            "compute_kv_seq_mask", _PAIR_WINDOW,
            "mm_mask = mm_mask & ((seq_offset - query_abs_pos) < SLIDING_WINDOW)", "vllm #49202", families=GEMMA4),
    _kernel("image-window-symmetric", "image pairs are bounded by the window on both sides", HELPERS,
            "compute_kv_seq_mask", _PAIR_WINDOW,
            _PAIR_WINDOW + " & ((seq_offset - query_abs_pos) < SLIDING_WINDOW)", "vllm #49202", families=GEMMA4),
    _kernel("image-window-plus-one", "image pairs may lie one token outside the window", HELPERS,
            "compute_kv_seq_mask", _PAIR_WINDOW, _PAIR_WINDOW.replace("< SLIDING", "<= SLIDING"), "vllm #3385", families=GEMMA4),
    Overlay("window-plus-one", "mutant", "the window keeps W + 1 keys", ("AttentionImpl.sliding_window",),
            change_windows(_wider), "transformers #29623, vllm #3385"),
    _kernel("window-mask-plus-one", "the mask keeps W + 1 keys, the value load W: weights do not sum to 1", HELPERS,
            "compute_kv_seq_mask", "sw_left = (query_abs_pos - seq_offset) < SLIDING_WINDOW",
            "sw_left = (query_abs_pos - seq_offset) <= SLIDING_WINDOW", "vllm #30887"),
    _kernel("kv-loop-stops-at-causal-frontier", "KV tiles after the query block are not visited", HELPERS,
            "compute_tile_loop_bounds", "tl.where(intersects_query_block, range_end, last_allowed_key)",
            "tl.where(intersects_query_block, last_allowed_key, last_allowed_key)", "vllm #30386", releases=">=0.30,<0.34"),
    _kernel("query-index-local-to-chunk", "the query's position is counted from the start of the chunk", KERNEL,
            "kernel_unified_attention", "query_abs_pos = context_len + query_pos[:, None]",
            "query_abs_pos = query_pos[:, None]", "vllm #47332", needs=Needs.CHUNKS),
    Overlay("key-scales-doubled", "mutant", "keys are read at twice the scale at which they were written",
            ("v1.attention.backends.triton_attn.triton_reshape_and_cache_flash_per_token_head_quant",), _key_scales_doubled,
            releases=">=0.32,<0.34", needs=Needs.ROUNDED_KV, implementation="TritonAttentionImpl"),
    _kernel("one-kv-head-group-causal", "KV head 1 does not get the ranges", KERNEL, "kernel_unified_attention",
            "        # S : (BLOCK_M, TILE_SIZE)\n",
            "        seq_mask = seq_mask & ((kv_head_idx != 1) | (seq_offset[None, :] <= query_abs_pos))\n"),
    *SCENARIO_MUTANTS,
]  # fmt: skip
