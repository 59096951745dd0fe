"""`harness attach` as people run it."""

from __future__ import annotations

import json

from tests.cli.command import harness
from tests.engines.vllm.attach.served import Served


def attach(server: Served, *words: str) -> tuple[int, dict]:
    """The exit code, and the result of one case."""
    done = harness("attach", server.url, "--token-file", str(server.token_file), "--format", "json", *words)
    assert done.out, done.err
    return done.code, json.loads(done.out)
