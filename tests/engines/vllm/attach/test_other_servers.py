"""Servers of other kinds: the V2 runner, whose divergence a team may know, and one that was started without the plugin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from harness.compare.setting import Setting
from harness.engines.vllm.attach import protocol
from harness.families import checkpoint
from harness.families.registry import preset, prompt_for
from harness.prompts.layout import Layout
from harness.verification.session import Session
from tests.engines.vllm.attach.commands import attach
from tests.engines.vllm.attach.served import How, Served, serving

pytestmark = [pytest.mark.engine, pytest.mark.slow]

LAYOUT = "t3 i5 t4 i12 t3"
KNOWN = """
[[known]]
policy = "drop"
link = "https://github.com/vllm-project/vllm/pull/50539"
reason = "the V2 runner leaves an image longer than the window causal"
settings = { runner = "v2" }
"""


@pytest.fixture(scope="module")
def v2(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(session.checkpoint(preset("tiny")), tmp_path_factory.mktemp("served"), How(runner="v2")) as served:
        yield served


@pytest.fixture(scope="module")
def plain(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with serving(session.checkpoint(preset("tiny")), folder, How("cpu", switched_on=False)) as served:
        yield served


def test_what_a_team_knows_of_v2_is_known(v2: Served, tmp_path: Path) -> None:
    code, found = attach(v2, "--layout", LAYOUT)
    assert (code, found["verdict"]) == (1, "DIVERGED") and found["setting"]["runner"] == "v2"
    known = tmp_path / "known.toml"
    known.write_text(KNOWN)
    code, found = attach(v2, "--layout", LAYOUT, "--known", str(known))
    assert (code, found["verdict"]) == (0, "KNOWN"), found["diagnosis"]
    assert found["reproduce"].startswith(f"harness attach {v2.url} ") and str(known) in found["reproduce"]


def test_the_masks_are_those_of_an_engine_of_our_own(v2: Served, session: Session, tmp_path: Path) -> None:
    attach(v2, "--layout", LAYOUT, "--keep", str(tmp_path))
    (directory,) = (tmp_path / "serving").rglob("capture.json")
    from harness.captures.read import Capture

    served = Capture(directory.parent, 0)
    spec = checkpoint.model(str(v2.checkpoint))
    (own,) = session.serve(spec, Setting.of(runner="v2"), [prompt_for(Layout.parse(LAYOUT), spec)])
    assert served.prompt.token_ids == own.prompt.token_ids
    for layer in own.facts.layers:
        assert np.array_equal(served.masks(layer.index), own.masks(layer.index))
    assert np.allclose(served.tensors["logits"], own.tensors["logits"], atol=1e-4)


def test_the_second_time_is_served_from_the_prefix_cache(v2: Served) -> None:
    code, found = attach(v2, "--layout", "t40 i5 t40", "--times", "2")
    assert (code, found["verdict"]) == (0, "PASS"), found["diagnosis"]
    assert "positions came from the prefix cache" in found["diagnosis"]


def test_without_the_variable_there_are_no_routes(plain: Served) -> None:
    headers = {"Authorization": f"Bearer {plain.token}"}
    assert httpx.get(f"{plain.url}{protocol.ROOT}", headers=headers).status_code == 404
    for path in (protocol.BEGIN, protocol.COLLECT, protocol.FETCH, protocol.END):
        assert httpx.post(f"{plain.url}{path}", headers=headers, json={}).status_code == 404


def test_without_the_plugin_what_the_api_tells_is_compared(plain: Served) -> None:
    code, found = attach(plain, "--layout", "t20", "--dtype", "float32")
    assert (code, found["verdict"]) == (0, "PASS"), found["diagnosis"]
    assert "masks were not observed (its API alone was asked" in found["diagnosis"]
    code, found = attach(plain, "--layout", LAYOUT, "--dtype", "float32")
    assert (code, found["verdict"]) == (1, "DIVERGED")
    assert "likely policy" in found["diagnosis"] and "`causal`" in found["diagnosis"]
