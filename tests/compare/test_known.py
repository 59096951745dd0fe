"""A declared divergence holds where its fields say and nowhere else."""

from typing import Any

import pytest

from harness.compare.known import Declared
from harness.compare.setting import Setting
from harness.families.registry import preset

BASE = Declared(
    "drop", "https://example.org/1", "a reason", backends=("triton",), runners=("v2",), releases=">=0.25,<0.33"
)


@pytest.mark.parametrize(
    ("backend", "runner", "release", "holds"),
    [
        ("triton", "v2", "0.32.0", True),
        ("triton", "v2", "0.32.0+cpu", True),
        ("triton", "v2", "0.32.1rc1", True),
        ("triton", "v2", "0.25.1", True),
        ("triton", "v2", "0.24.0", False),
        ("triton", "v2", "0.33.0", False),
        ("triton", "v1", "0.32.0", False),
        ("cpu", "v2", "0.32.0", False),
    ],
)
def test_it_holds_for_its_back_ends_runners_and_releases(backend: str, runner: str, release: str, holds: bool) -> None:
    assert BASE.holds(Setting.of(backend=backend, runner=runner), release) is holds


def test_fields_left_out_hold_everywhere() -> None:
    anywhere = Declared("drop", "https://example.org/1", "a reason")
    assert all(
        anywhere.holds(Setting.of(backend=backend, runner=runner), "0.1")
        for backend in ("triton", "cpu")
        for runner in ("v1", "v2")
    )


@pytest.mark.parametrize(
    "kinds",
    [
        {},
        {"policy": "drop", "failure": "died"},
        {"policy": "drop", "precision": "tf32"},
        {"precision": "bf8"},
        {"policy": "drop", "logits": True},
    ],
)
def test_a_declaration_is_of_one_kind(kinds: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"policy, precision, failure and logits|precision 'bf8': one of tf32"):
        Declared(link="https://example.org/1", reason="a reason", **kinds)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"runners": ("v1",)}, "logits goes with first_layer or mended_by"),
        ({"first_layer": 0}, "logits goes with releases or settings"),
        ({"first_layer": 0, "runners": ("v1",), "model_has": ("name",)}, "model_has 'name': one of per_layer_input"),
    ],
)
def test_declared_logits_have_what_tells_them_from_others(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Declared(logits=True, link="https://example.org/1", reason="a reason", **fields)


def test_it_may_be_of_models_that_have_something_only() -> None:
    of = Declared(
        logits=True, link="https://x.org/1", reason="r", first_layer=3, releases="<1", model_has=("per_layer_input",)
    )
    assert of.of_model(preset("e4b-shape")) and not of.of_model(preset("tiny"))


def test_it_may_hold_for_some_dtypes_only() -> None:
    coarse = Declared(precision="tf32", link="https://example.org/1", reason="a reason", dtypes=("float32",))
    assert coarse.holds(Setting.of(dtype="float32"), "0.25.1")
    assert not coarse.holds(Setting.of(dtype="bfloat16"), "0.25.1")


def test_of_an_engine_that_failed_before_it_chose_nobody_knows_what_it_would_have_chosen() -> None:
    failure = Declared(failure="no kernel", link="https://example.org/1", reason="a reason", runners=("v2",))
    for runner, holds in (("auto", True), ("v2", True), ("v1", False)):
        setting = Setting.of(runner=runner)
        assert failure.before_choosing(setting).holds(setting, "0.32.0") is holds
