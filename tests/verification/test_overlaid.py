"""What of a catalogue has what an overlay changes is known before an engine starts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pytest

from harness.compare.setting import Setting
from harness.errors import UsageError
from harness.prompts.case import Case
from harness.verification.overlaid import having

TINY, SHARING, GEMMA3 = (Case("a", "", "t5", model=name) for name in ("tiny", "e4b-small", "gemma3-tiny"))
FAST = {"arguments": (("kv_sharing_fast_prefill", "true"),)}
ENTRIES = [
    (TINY, Setting()),
    (TINY, Setting.of(backend="cpu")),
    (TINY, Setting.of(adapter="request", mates=("t5",))),
    (TINY, Setting.of(pipeline_parallel=2)),
    (SHARING, Setting.of(**FAST)),
    (GEMMA3, Setting()),
]


def laid(name: str) -> list[tuple[Case, Setting]]:
    return [(case, setting.with_(overlays=(name,))) for case, setting in ENTRIES]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("window-plus-one", [0, 1, 2, 3, 4, 5]),
        ("one-kv-head-group-causal", [0, 2, 3, 4, 5]),
        ("pr-50539", [0, 1, 2, 3, 4]),
        ("adapter-lost-in-decoding", [2]),
        ("pr-48421", [2]),
        ("pipeline-sends-16-bits", [3]),
        ("fast-prefill-misses-a-key", [4]),
        ("per-layer-inputs-of-placeholders", [4]),
    ],
)
def test_what_lacks_what_is_changed_is_left_out(name: str, kept: list[int]) -> None:
    entries = laid(name)
    found, lacking = having(entries, None, sys.executable)
    assert found == [entries[place] for place in kept]
    assert sum(int(said.rpartition("(")[2].split()[0]) for said in lacking) == len(entries) - len(kept)
    assert all(name in why for why in lacking.values())


def test_the_settings_are_named_with_the_reason() -> None:
    _, lacking = having(laid("one-kv-head-group-causal"), None, sys.executable)
    ((said, why),) = lacking.items()
    assert said == "cpu auto float32 (1 of 6 results)" and "TritonAttentionImpl" in why


def test_an_overlay_that_nothing_has_is_refused() -> None:
    with pytest.raises(UsageError, match="FlashAttentionImpl, which the back end triton does not run"):
        having(laid("flash-window-not-applied-beside-images"), None, sys.executable)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("adapter-lost-in-decoding", {}),
        ("pipeline-sends-16-bits", {}),
        ("fast-prefill-misses-a-key", {"arguments": (("kv_sharing_fast_prefill", "false"),)}),
    ],
)
def test_it_is_said_what_would_have_it(name: str, setting: Mapping[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"--adapter|--pipeline-parallel|kv_sharing_fast_prefill=true"):
        having([(SHARING, Setting.of(**setting, overlays=(name,)))], None, sys.executable)
