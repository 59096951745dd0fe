"""A token that could be read by others is none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from harness.engines.vllm.attach import plugin, switch
from harness.engines.vllm.options import EngineOptions
from harness.errors import EnvironmentFailure, UsageError


def written(path: Path, text: str, mode: int = 0o600) -> str:
    path.touch(0o600)
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_token_is_read_from_its_owner_s_file(tmp_path: Path) -> None:
    assert switch.token_of(written(tmp_path / "token", "a" * 32 + "\n")) == "a" * 32


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(UsageError, match="owner alone"):
        switch.token_of(written(tmp_path / "token", "a" * 32, mode))


@pytest.mark.parametrize("text", ["", "a" * 31, "a" * 32 + " b", "a" * 32 + "\nb", "é" * 32, "\0" * 32])
def test_what_is_no_token_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="token-file"):
        switch.token_of(written(tmp_path / "token", text))


def test_a_folder_or_a_pipe_is_no_token_s_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "folder", tmp_path / "pipe", tmp_path / "none"):
        with pytest.raises(UsageError, match="token-file"):
            switch.token_of(str(path))


def test_the_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "token", "a" * 32)
    another = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: another)
    monkeypatch.setattr(switch, "ROOT", -1)
    with pytest.raises(UsageError, match="its owner knows the token"):
        switch.token_of(path)


def test_nothing_of_vllm_is_touched_unless_it_is_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    for off in (None, ""):
        monkeypatch.delenv(switch.SWITCH, raising=False)
        if off is not None:
            monkeypatch.setenv(switch.SWITCH, off)
        plugin.register.__wrapped__()
    monkeypatch.setenv(switch.SWITCH, "token")
    with pytest.raises(ImportError):
        plugin.register.__wrapped__()


def test_a_mode_in_which_anybody_can_ask_the_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(switch.SWITCH, "token")
    monkeypatch.setenv("VLLM_SERVER_DEV_MODE", "1")
    with pytest.raises(EnvironmentFailure, match="VLLM_SERVER_DEV_MODE"):
        plugin.register.__wrapped__()


def test_an_engine_of_our_own_is_not_observed_by_others() -> None:
    assert EngineOptions().environment("cpu")[switch.SWITCH] == ""
