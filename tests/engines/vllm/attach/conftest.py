"""The server that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.families.registry import preset
from harness.verification.session import Session
from tests.engines.vllm.attach.served import Served, serving


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, session: Session, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Started as the module's ``HOW`` says, with the checkpoint of its ``PRESET``, if it names one."""
    folder = tmp_path_factory.mktemp("served")
    model = preset(getattr(request.module, "PRESET", "tiny"))
    with serving(session.checkpoint(model), folder, request.module.HOW) as served:
        yield served
