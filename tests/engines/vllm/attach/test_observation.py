"""What a worker writes for a client, and removes with its observation, is below a directory of its own."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from harness.engines.vllm.attach.observation import Observation


def test_a_ticket_of_the_endpoint_names_a_directory_below(tmp_path: Path) -> None:
    observation = Observation(secrets.token_urlsafe(24), ["name"], tmp_path)
    assert observation.directory.parent == tmp_path
    assert observation.stack(3).parent == observation.directory


@pytest.mark.parametrize(
    "ticket", ["", ".", "..", "/", "/tmp/" + "a" * 27, "../" + "a" * 29, "a" * 31, "a" * 32 + "\n", "a" * 33]
)
def test_no_other_ticket_is_one(tmp_path: Path, ticket: str) -> None:
    with pytest.raises(ValueError, match="no ticket"):
        Observation(ticket, ["name"], tmp_path)
