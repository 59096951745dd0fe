"""What a maintainer can act on: the policy that explains each side, and the likely cause."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.compare import surplus
from harness.compare.masks import Difference
from harness.layout import Layout
from harness.masks import followed, policies
from harness.setting import Setting, vllm_name

FULL = ("causal", "everywhere", "bidirectional")
CAUSES = {
    "drop": "the range guard of PR #40534 skips them; vLLM #50539",
    "causal": "no image range reaches the kernel: is the model an mm-prefix model, does the back end know ranges? vLLM #40106",
    "unclamped": "the kernel lets image ranges override the window: `mm_prefix_clamp_sliding_window` is not heeded; vLLM PR #47217",
    "everywhere": "the ranges of full layers are not cleared: `_clear_mm_prefix_for_full_attn_layers`; vLLM PR #40534",
    "symmetric": "the window bounds later tokens of the image too; vLLM #49202",
    "no-window": "the sliding window is not applied; vLLM #17180",
    "full-causal": "neither window nor ranges are applied; vLLM #17180",
    "window-plus-one": "the window is one token too wide; transformers #29623, vLLM #3385",
    "bidirectional": "the attention is not causal at all; transformers #46077",
    "causal-blocks": "FlexAttention's block mask is pruned causally before image ranges are looked at: `_build_block_mask_direct`; vLLM PR #27938",
    "causal-blocks-drop": "FlexAttention's block mask is pruned causally (vLLM PR #27938), and the range guard skips long images (#50539)",
    "clamp": "the window and the image ranges are both applied",
}  # fmt: skip
AUDIO = ", of audio too"
"""What a policy's name ends with where audio clips are masked as images."""
AUDIO_CAUSE = "every modality makes ranges, audio too, as in the V1 runner of vLLM 0.20 to 0.22"
SPLIT = "an image is split over steps and loses its forward half; vLLM #23969, #52306"


def explanations(
    mask: np.ndarray, layout: Layout, window: int, rows: np.ndarray, backend: str, *, sliding: bool, first: str | None = None,
    visible: np.ndarray | None = None,
) -> Iterator[str]:
    """The names of the policies that give this mask (N, N) in the observed rows (N,), the likeliest first, and before it
    ``first`` if that is among them; vision spans only, but for names that end in `AUDIO`, which come last. Those of another
    ``backend`` are left out. Of ``visible`` (N, N) pairs alone, if it is given."""
    vision = [(span.start, span.end) for span in layout.spans if span.kind != "audio"]
    possible = {name for name, policy in policies.POLICIES.items() if policy.backend in ("", vllm_name(backend))}
    names = [name for name in policies.POLICIES if name in possible and (sliding or name in FULL)]
    names.sort(key=lambda name: name != first)
    alone = list(policies.explanations(mask, vision, window, names, sliding=sliding, rows=rows, visible=visible))
    yield from alone
    if len(vision) < len(layout.spans):
        every = [(span.start, span.end) for span in layout.spans]
        for name in policies.explanations(mask, every, window, names, sliding=sliding, rows=rows, visible=visible):
            if name not in alone:
                yield f"{name}{AUDIO}"


def _layers(kind: str, layers: list[int]) -> str:
    return f"{kind} layers {', '.join(map(str, layers))}" if len(layers) > 1 else f"{kind} layer {layers[0]}"


def of_the_reference(
    kind: str, layers: list[int], difference: Difference, names: list[str], intended: str, transformers: str, *, served: bool
) -> str:
    """One sentence on a reference whose layers do not follow the policy that is ``intended``, with what is known of this
    release of ``transformers``; ``names`` are the policies that explain its mask. ``served``: serving follows the intended one."""
    follows = f"follows `{names[0]}`" if names else "is explained by no known policy"
    missing, extra = difference.counts
    other = f"serving applies the intended `{intended}`" if served else f"the intended policy is `{intended}`"
    known = next((text for name in names for text in [followed.known(transformers, kind, name)] if text), "")
    return f"{_layers(kind, layers)}: the reference {follows}, {other} (serving: {missing} pairs missing, {extra} extra){known and '; '}{known}"


def sentence(
    kind: str, layers: list[int], difference: Difference, names: list[str], layout: Layout, window: int, setting: Setting
) -> str:
    """One sentence on the layers of one type that differ in the same way; ``names`` are the policies that explain them."""
    where = _layers(kind, layers)
    wrong = difference.missing | difference.extra
    counts = "{} pairs missing, {} extra".format(*difference.counts)
    groups = difference.groups_that_differ
    some = "" if len(groups) == len(difference.reference) else f" in KV head group {', '.join(map(str, groups))} only"
    if not names:
        return f"{where}: no known policy explains the serving mask{some} ({counts}): {_where(wrong, layout, setting)}"
    policy, *others = names
    known, cut = surplus.uncut(policy)
    audio, known = known.endswith(AUDIO), known.removesuffix(AUDIO)
    same = f" (here the same as {', '.join(f'`{name}`' for name in others)})" if others else ""
    concerned = [span for span in layout.spans if wrong[span.start : span.end + 1].any()]
    named = ", ".join(f"{span.name} ({len(span)} tokens)" for span in concerned[:3])
    named += f" and {len(concerned) - 3} more" if len(concerned) > 3 else ""
    effect = {
        "drop": f"{named} longer than the window ({window}) left causal",
        "causal-blocks": f"{named} without the later tokens of other blocks",
        "causal-blocks-drop": f"{named} without the later tokens of other blocks, or left causal",
        "causal": f"{named} left causal",
        "unclamped": f"{named} seen beyond the window ({window})",
    }.get(policy, f"{named or 'text'} concerned")
    cause = SPLIT if cut else AUDIO_CAUSE if audio else CAUSES[known]
    return f"{where}: serving applies `{policy}`{same}{some}: {effect} ({counts}); {cause}"


def _where(wrong: np.ndarray, layout: Layout, setting: Setting) -> str:
    queries, keys = np.nonzero(wrong)
    same = [s for s in layout.spans if wrong[s.start : s.end + 1, s.start : s.end + 1].any()]
    inside = sum(int(wrong[s.start : s.end + 1, s.start : s.end + 1].sum()) for s in same)
    parts = []
    if same:
        parts.append(f"{inside} pairs inside {', '.join(span.name for span in same[:4])}")
    if inside < len(queries):
        parts.append(f"{len(queries) - inside} pairs outside any one image")
    if setting.chunk and ((queries // setting.chunk) < (keys // setting.chunk)).all():
        split = f"all keys lie in a later {setting.chunk}-token chunk than their query"
        parts.append(f"{split}: an image split over chunks loses its forward half; vLLM #23969")
    else:
        parts.append(f"queries {queries.min()} to {queries.max()}, keys {keys.min()} to {keys.max()}")
    return "; ".join(parts)
