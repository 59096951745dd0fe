"""What a maintainer can act on: the policy that explains each side, and the likely cause."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.compare import surplus
from harness.compare.masks import Difference
from harness.compare.setting import Setting
from harness.engines.vllm.attention_backends import vllm_name
from harness.families.base import Family
from harness.masks import policies
from harness.prompts.layout import Layout

AUDIO = ", of audio too"
"""What a policy's name ends with where audio clips are masked as images."""
AUDIO_CAUSE = "every modality makes ranges, audio too, as in the V1 runner of vLLM 0.20 to 0.22"
SPLIT = "an image is split over steps and loses its forward half; vLLM #23969, #52306"


def explanations(
    mask: np.ndarray,
    layout: Layout,
    window: int,
    rows: np.ndarray,
    backend: str,
    *,
    sliding: bool,
    first: str | None = None,
    visible: np.ndarray | None = None,
    family: Family | None = None,
) -> Iterator[str]:
    """The names of the policies that give this mask (N, N) in the observed rows (N,), the likeliest first, and before it
    ``first`` if that is among them, and the one that the ``family`` intends; vision spans only, but for names that end in `AUDIO`,
    which come last. Those of another ``backend`` or family are left out. Of ``visible`` (N, N) pairs alone, if it is given."""
    vision = layout.vision
    known, name_of = policies.POLICIES.values(), family.name if family else ""
    intended = family.intended["sliding" if sliding else "full"] if family else ""
    possible = (each for each in known if each.backend in ("", vllm_name(backend)) and each.family in ("", name_of))
    names = [policy.name for policy in possible if (policy.on_sliding if sliding else policy.on_full)]
    names.sort(key=lambda name: (name != first, name != intended))
    alone = []
    for name in policies.explanations(mask, vision, window, names, sliding=sliding, rows=rows, visible=visible):
        alone.append(name)
        yield name
    if len(vision) < len(layout.spans):
        every = [(span.start, span.end) for span in layout.spans]
        for name in policies.explanations(mask, every, window, names, sliding=sliding, rows=rows, visible=visible):
            if name not in alone:
                yield f"{name}{AUDIO}"


def _layers(kind: str, layers: list[int]) -> str:
    return f"{kind} layers {', '.join(map(str, layers))}" if len(layers) > 1 else f"{kind} layer {layers[0]}"


def of_the_reference(
    family: Family,
    kind: str,
    layers: list[int],
    difference: Difference,
    names: list[str],
    intended: str,
    reference: tuple[str, str],
    *,
    served: bool,
) -> str:
    """One sentence on a ``reference`` (name, release) whose layers do not follow the policy that is ``intended``, with what is
    known of it; ``names`` are the policies that explain its mask. ``served``: serving follows the intended one."""
    follows = f"follows `{names[0]}`" if names else "is explained by no known policy"
    missing, extra = difference.counts
    other = f"serving applies the intended `{intended}`" if served else f"the intended policy is `{intended}`"
    known = next((text for name in names for text in [family.known(*reference, kind, name)] if text), "")
    counts = f"serving: {missing} pairs missing, {extra} extra"
    return f"{_layers(kind, layers)}: the reference {follows}, {other} ({counts}){known and '; '}{known}"


def sentence(
    kind: str,
    layers: list[int],
    difference: Difference,
    names: list[str],
    layout: Layout,
    window: int,
    setting: Setting,
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
    found = policies.POLICIES[known]
    effect = found.effect.format(images=named or "text", window=window)
    cause = SPLIT if cut else AUDIO_CAUSE if audio else found.cause
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
    if setting.scenario.chunk and ((queries // setting.scenario.chunk) < (keys // setting.scenario.chunk)).all():
        split = f"all keys lie in a later {setting.scenario.chunk}-token chunk than their query"
        parts.append(f"{split}: an image split over chunks loses its forward half; vLLM #23969")
    else:
        parts.append(f"queries {queries.min()} to {queries.max()}, keys {keys.min()} to {keys.max()}")
    return "; ".join(parts)
