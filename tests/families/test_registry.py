"""What is said of families holds together, whichever there are."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from cases.catalogue import CASES, DECLARED
from harness.engines.vllm.overlays import OVERLAYS
from harness.errors import UsageError
from harness.families.base import Family
from harness.families.registry import FAMILIES, PRESETS, family_of, of_type, preset, prompt_for
from harness.masks.policies import POLICIES
from harness.prompts.layout import Layout

families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


@families
def test_a_family_is_found_by_its_specs_and_its_checkpoints(family: Family) -> None:
    assert family.model_types and all(of_type(kind) is family for kind in family.model_types)
    assert family.presets and all(family_of(spec) is family for spec in family.presets.values())
    assert all(preset(name) is spec for name, spec in family.presets.items())


@families
def test_what_layers_are_meant_to_follow_are_policies(family: Family) -> None:
    assert set(family.intended) == {"sliding", "full"}
    followed = {*family.intended.values(), *(one.policy for one in family.followed)}
    assert all(POLICIES[name].family in ("", family.name) for name in followed)


def test_presets_of_all_families_have_names_of_their_own() -> None:
    assert len(PRESETS) == sum(len(family.presets) for family in FAMILIES.values())


def test_what_belongs_to_a_family_names_one_that_is_there() -> None:
    named = {name for overlay in OVERLAYS.values() for name in overlay.families}
    named |= {policy.family for policy in POLICIES.values() if policy.family} | {
        one.family for one in DECLARED if one.family
    }
    assert named <= set(FAMILIES)


def test_every_case_is_one_that_its_model_takes() -> None:
    for case in CASES:
        spec = preset(case.model)
        if case.layout:
            assert family_of(spec).takes(Layout.parse(case.layout), spec)
            assert len(prompt_for(Layout.parse(case.layout), spec).token_ids) == len(Layout.parse(case.layout))


def test_a_family_without_causal_images_has_no_causal_twins() -> None:
    assert preset("26b-a4b-small-causal").bidirectional is None
    with pytest.raises(UsageError, match="model: 'gemma3-tiny-causal' is not allowed"):
        preset("gemma3-tiny-causal")


@pytest.mark.parametrize(
    ("model", "name", "release", "has"),
    [
        ("12b-small", "transformers", "5.9.0", False),
        ("12b-small", "transformers", "5.10.0", True),
        ("12b-small", "vllm", "0.22.1", False),
        ("12b-small", "vllm", "0.23.0+g123456789", True),
        ("12b-small", "gemma", "4.0.1", True),
        ("31b-small", "transformers", "5.5.0", True),
        ("31b-small", "vllm", "0.19.1", True),
    ],
)
def test_a_release_without_a_member_is_refused(model: str, name: str, release: str, has: bool) -> None:
    spec = preset(model)
    with nullcontext() if has else pytest.raises(UsageError, match=f"^model: '{model}' .* with {name} >=") as refused:
        family_of(spec).check_release(spec, name, release)
    assert has or release in str(refused.value)
