"""The shape of a model with weights that are drawn: masks do not depend on weights, and both sides are given the same ones.

What stays is the text decoder: its pattern of layers, window, heads and their sizes, widths, experts, shared keys and values,
per-layer inputs. Left out are rows of the vocabulary that no prompt asks for, the depth and width of the towers, and, where the
model is cut, all but its first layers.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

from harness.errors import EnvironmentFailure, UsageError
from harness.prompts.model_spec import ModelSpec

WORDS = 4096
"""Tokens of the vocabulary that are kept."""
SPREAD = 2.3
"""The standard deviation of weights, times the square root of the width: what it is in presets, of 64 and of 512 channels."""
LARGE, WINDOWS = 10_000_000_000, 4
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def dummy(shape: ModelSpec, given: str, layers: int | None) -> ModelSpec:
    """``shape``, which was ``given`` by this name, with drawn weights, cut to its first ``layers``.

    Raises:
        UsageError: the model has not so many, or the first ones are not whole.
    """
    made = replace(
        shape,
        name=re.sub(r"[^\w.-]+", "-", Path(given).name, flags=re.ASCII),
        vocab=min(shape.vocab, WORDS),
        weight_std=SPREAD / math.sqrt(shape.hidden),
        source="",
        dummy_of=given,
    )
    return shortened(made if layers is None else cut(made, layers))


def cut(spec: ModelSpec, layers: int) -> ModelSpec:
    """``spec`` with the first ``layers``, of which the last so many share keys and values as in the whole model, in whole
    repetitions of its pattern.

    Raises:
        UsageError: there are not so many, or not every kind of layer is among them.
    """
    period = spec.layers.index("f") + 1
    least = 2 * period if spec.kv_shared_layers else period
    allowed = [count for count in range(least, len(spec.layers) + 1) if spec.layers[count - 1] == "f"]
    if layers not in allowed:
        shared = ", of which some share keys and values" if spec.kv_shared_layers else ""
        counts = ", ".join(map(str, allowed))
        raise UsageError("layers", layers, f"{counts}: the first layers of {spec.name} up to a full one{shared}")
    part = layers * spec.kv_shared_layers / len(spec.layers) / period
    shared_layers = period * max(1, math.floor(part)) if spec.kv_shared_layers else 0
    return replace(spec, layers=spec.layers[:layers], kv_shared_layers=shared_layers)


def shortened(spec: ModelSpec) -> ModelSpec:
    """A model of more than `LARGE` weights, which leave a GPU of 80 GB no room for the keys and values of `LONGEST` tokens, takes
    `WINDOWS` windows of them: more than any layout of its catalogue has. Others stay as they are."""
    if parameters(spec) <= LARGE:
        return spec
    return replace(spec, max_length=min(spec.max_length, WINDOWS * spec.window))


def parameters(spec: ModelSpec) -> int:
    """How many weights the text decoder has, norms and scalars not counted."""
    total = spec.vocab * spec.hidden
    if spec.per_layer_input:
        packed = len(spec.layers) * spec.per_layer_input
        total += spec.vocab * packed + spec.hidden * packed
    for index, kind in enumerate(spec.layers):
        shares = index >= len(spec.layers) - spec.kv_shared_layers
        size, heads = (spec.head_dim, spec.kv_heads) if kind == "s" else (spec.global_head_dim, spec.global_kv_heads)
        kept = 0 if shares else 1 if kind == "f" and spec.k_eq_v else 2
        total += spec.hidden * size * (2 * spec.heads + kept * heads)
        total += 3 * spec.hidden * spec.intermediate * (2 if spec.double_wide and shares else 1)
        total += 2 * spec.hidden * spec.per_layer_input
        if spec.moe:
            total += spec.moe[0] * (3 * spec.hidden * (spec.expert or spec.intermediate // 2) + spec.hidden)
    return total


def check_memory(spec: ModelSpec, dtype: str, *, offload: bool, engines: int = 1) -> None:
    """Raise EnvironmentFailure where this machine has not the memory for both sides on its CPU, of so many ``engines`` at the same
    time: a weight of serving, and unless the reference is ``offload`` one of it, and two more for it in a higher precision."""
    if not spec.dummy_of:
        return
    needed, there = engines * (1 if offload else 4) * parameters(spec) * BYTES[dtype], _available()
    if needed > there:
        what = "for serving alone" if offload else "(serving, the reference, and the reference in a higher precision)"
        what += f", of {engines} engines," if engines > 1 else ""
        fewer = "fewer --layers, or --jobs 1" if engines > 1 else "fewer --layers"
        ways = f"{fewer}, or a GPU" if offload else f"{fewer}, --reference-offload, or a GPU"
        raise EnvironmentFailure(
            f"{spec.dummy_of} with {len(spec.layers)} layers in {dtype} takes about {needed / 1e9:.0f} GB {what}, and "
            f"{there / 1e9:.0f} GB are free; {ways}"
        )


def _available() -> int:
    """Bytes of memory that a new process can have."""
    facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    return int(facts["MemAvailable"].split()[0]) * 1024
