"""A spec that cannot be built is refused where it is written down."""

import pytest

from harness.errors import UsageError
from harness.families.registry import PRESETS, preset
from harness.prompts.model_spec import ModelSpec


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("window", 0),
        ("window", -8),
        ("layers", ""),
        ("layers", "fs"),
        ("layers", "sxf"),
        ("heads", 3),
        ("kv_heads", 0),
        ("global_kv_heads", 1),
        ("vocab", 63),
    ],
)
def test_it_is_refused_with_field_and_value(field: str, value: object) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        ModelSpec("tiny", **{field: value})


@pytest.mark.parametrize("spec", PRESETS.values(), ids=PRESETS)
def test_a_preset_is_found_by_its_name(spec: ModelSpec) -> None:
    assert preset(spec.name) is spec


def test_the_key_is_of_what_is_built_and_not_of_the_name() -> None:
    tiny = PRESETS["tiny"]
    assert tiny.with_(name="other").key == tiny.key
    assert len({spec.key for spec in (tiny, tiny.with_(window=9), tiny.with_(seed=1), tiny.with_(moe=(4, 2)))}) == 4


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="model: 'huge' is not allowed; one of tiny, deep"):
        preset("huge")
