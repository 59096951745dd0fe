"""A fault in any tensor of serving is seen; what is not seen is named."""

from __future__ import annotations

import pytest

from cases.catalogue import ON_CPU
from harness.campaigns.weights import Survey, kept, survey
from harness.cli.weights import layouts_for
from harness.compare.setting import Setting
from harness.families.registry import preset
from harness.verification.session import Session

pytestmark = pytest.mark.engine

SPEC = preset("tiny")
LAYOUTS = layouts_for(SPEC, ON_CPU)[:2]
EACH = (
    "language_model.model.layers.0.self_attn.qkv_proj.weight[2]",
    "language_model.model.layers.1.layer_scalar",
    "language_model.lm_head.weight",
    "vision_tower.std_bias",
    "vision_tower.encoder.layers.0.mlp.down_proj.output_min",
)


@pytest.fixture(scope="module")
def keeping(session: Session):
    """A session of its own: its engines keep what they load."""
    with kept(), Session(serving_python=session.serving_python, reference_python=session.reference_python) as opened:
        yield opened


def surveyed(keeping: Session, by: float, names: tuple[str, ...], kind: str = "tensor") -> Survey:
    return survey(keeping, SPEC, Setting.of(runner="v1"), LAYOUTS, by, names=names, kinds=(kind,))


def test_one_per_cent_of_a_tensor_is_seen_and_put_back(keeping: Session) -> None:
    found = surveyed(keeping, 0.01, EACH)
    assert {change.name for change in found.changes} == set(EACH)
    assert {change.seen_by for change in found.changes} == {"logits"}
    assert found.restored and found.exit_code == 0 and found.not_loaded == []
    assert set(found.before) == {str(layout) for layout in LAYOUTS} and max(found.before.values()) < 4


def test_what_no_layout_shows_is_named(keeping: Session) -> None:
    found = surveyed(keeping, 1e-9, EACH[:1])
    assert [change.name for change in found.unseen] == [EACH[0]] and found.exit_code == 1


def test_a_tenfold_epsilon_is_within_the_bound(keeping: Session) -> None:
    found = surveyed(keeping, 0.01, ("language_model.model.layers.0.input_layernorm.variance_epsilon",), "epsilon")
    assert [change.seen_by for change in found.changes] == [None] and found.exit_code == 0
