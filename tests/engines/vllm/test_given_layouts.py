"""Layouts on a checkpoint that exists already, with its own token ids and patches."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families import checkpoint
from harness.families.registry import preset, prompt_for
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.verification.session import Session
from harness.verification.verify import verify
from tests.families.gemma4.as_published import as_published

pytestmark = pytest.mark.engine

V1 = Setting.of(runner="v1")


@pytest.mark.slow
def test_a_layout_is_verified_as_on_a_preset(session: Session, tmp_path: Path) -> None:
    folder = as_published(Path(session.checkpoint(preset("tiny"))), tmp_path / "published")
    spec = checkpoint.model(str(folder))
    for layout in ("t3 i5 t4 i12 t3", "I6 t2 v2x3 t1"):
        result = verify(session, Case("given", "", layout, model=str(folder)), V1, spec=spec)
        assert result.verdict is Verdict.PASS, result.diagnosis
        assert f"--layout '{layout}' --model {folder} --backend" in result.reproduce
    tokens = session.observe(spec, V1, [prompt_for(Layout.parse("t3 i2 t1"), spec)])[0].serving.prompt.token_ids
    assert tokens[3:7] == (204, 206, 206, 205) and not {*tokens[:3], *tokens[7:]} & set(range(204, 211))
