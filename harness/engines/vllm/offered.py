"""What a release of vLLM offers for a model on this machine's GPU, asked once for this process and its children."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from harness.drivers import safe_path
from harness.drivers.process import ROOT
from harness.errors import EnvironmentFailure

OFFERED = "HARNESS_OFFERED"
"""The environment variable that has the answers, by interpreter and model."""


def offered(model: str, python: str) -> dict[str, list[dict[str, Any]]]:
    """What `harness.engines.vllm.offers` says of a preset in this interpreter: by dtype the back ends and what is against each.

    Raises:
        EnvironmentFailure: vLLM could not be asked.
    """
    key = f"{python} {model}"
    if key in (known := json.loads(os.environ.get(OFFERED, "{}"))):
        return known[key]
    command = [python, "-m", "harness.engines.vllm.offers", model]
    environment = {**os.environ, **safe_path.environment([str(ROOT)])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300, check=False)
    if done.returncode:
        raise EnvironmentFailure(f"vLLM could not be asked for its back ends: {done.stderr.strip().splitlines()[-1:]}")
    known[key] = json.loads(done.stdout.splitlines()[-1])
    os.environ[OFFERED] = json.dumps(known)
    return known[key]
