"""Environments that uv makes of a package that was written here: whole or not at all, made once, kept while in use."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness.drivers.process import ROOT
from harness.verification.environments import store
from tests.verification.environments.making import RELEASE


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of a maker; a package index of one wheel."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    info = f"{RELEASE.name}-{RELEASE.version}.dist-info"
    with zipfile.ZipFile(wheels / f"{RELEASE.name}-{RELEASE.version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("transformers/__init__.py", f"__version__ = {RELEASE.version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {RELEASE.name}\nVersion: {RELEASE.version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("HARNESS_ENVIRONMENTS", str(tmp_path / "environments"))
    return {**os.environ, "PYTHONPATH": str(ROOT), "UV_CACHE_DIR": str(tmp_path / "uv")}


def maker(surroundings: dict[str, str], wheels: Path, *seconds: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.verification.environments.making", str(wheels), *seconds]
    return subprocess.Popen(command, env=surroundings, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_two_makers_make_one_environment(surroundings: dict[str, str], tmp_path: Path) -> None:
    both = [maker(surroundings, tmp_path / "wheels") for _ in range(2)]
    pythons = {process.communicate(timeout=120)[0].strip() for process in both}
    assert len(pythons) == 1
    assert [str(one.python) for one in store.known()] == [*pythons]
    assert store.known()[0].lock == [str(RELEASE)]
    done = subprocess.run(
        [*pythons, "-c", "import transformers; print(transformers.__version__)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == RELEASE.version


def test_what_a_killed_maker_leaves_is_no_environment_and_goes(surroundings: dict[str, str], tmp_path: Path) -> None:
    killed = maker(surroundings, tmp_path / "wheels", "60")
    assert killed.stdout.readline() == "installed\n"
    killed.kill()
    killed.communicate()
    assert store.known() == []
    assert len(_beside()) == 1
    python, _ = maker(surroundings, tmp_path / "wheels").communicate(timeout=120)
    assert [str(one.python) for one in store.known()] == [python.strip()]
    assert _beside() == []


def test_an_environment_in_use_is_not_removed(surroundings: dict[str, str], tmp_path: Path) -> None:
    maker(surroundings, tmp_path / "wheels").communicate(timeout=120)
    (environment,) = store.known()
    waits = "import sys; sys.argv[1:] = ['wheels']; from tests.verification.environments import making; making.main(); input()"
    user = subprocess.Popen(
        [sys.executable, "-c", waits], env=surroundings, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert user.stdout.readline().strip() == str(environment.python)
    assert not store.remove(environment)
    assert environment.python.exists()
    user.communicate("\n")
    assert store.remove(environment)
    assert store.known() == []


def test_without_an_index_in_reach_there_is_one_line(surroundings: dict[str, str]) -> None:
    """Port 9 of this machine is nobody's."""
    nowhere = {
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
        "UV_INDEX": "",
        "UV_FIND_LINKS": "",
        "UV_HTTP_RETRIES": "0",
    }
    command = [sys.executable, "-m", "harness", "environments", "make", "transformers==5.12.1"]
    done = subprocess.run(command, env={**surroundings, **nowhere}, text=True, capture_output=True, timeout=120)
    assert done.returncode == 3
    assert [line for line in done.stderr.splitlines() if "making" not in line] == [done.stderr.splitlines()[-1]]
    assert "transformers==5.12.1" in done.stderr
    assert "no package index is in reach" in done.stderr


def test_a_command_names_an_environment_by_its_release(surroundings: dict[str, str], tmp_path: Path) -> None:
    python, _ = maker(surroundings, tmp_path / "wheels").communicate(timeout=120)
    assert store.words(python.strip()) == str(RELEASE)
    assert store.words(sys.executable) == sys.executable


def test_an_environment_that_another_version_of_the_harness_made_hides_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_ENVIRONMENTS", str(tmp_path))
    for name in ("to-come==1.0", str(RELEASE)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "environment.json").write_text(json.dumps({"release": name}))
    assert [one.release for one in store.known()] == [str(RELEASE), "to-come==1.0"]


def _beside() -> list[Path]:
    return [path for path in store.root().glob(".*-*") if path.is_dir()]
