"""Weights whose checksums cannot be noted stop no server that others use."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.drivers.process import ROOT

LOADS = """
import torch
from vllm.model_executor.model_loader import base_loader
from harness.engines.vllm import loaded

class Untold(torch.nn.Module):
    @property
    def config(self):
        raise RuntimeError("out of memory")

def process(model, *_):
    return model

def loads(**options):
    base_loader.process_weights_after_loading = process
    loaded.note_before_processing(**options)
    model = Untold()
    try:
        return base_loader.process_weights_after_loading(model, torch) is model and not hasattr(model, "harness_weights")
    except RuntimeError:
        return False

print(loads(), loads(forgiven=Exception))
"""


@pytest.mark.engine
@pytest.mark.slow
def test_an_error_of_the_observer_is_told_and_the_model_loads() -> None:
    done = subprocess.run([sys.executable, "-c", LOADS], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["False", "True"] and "out of memory" in done.stderr, done.stderr[-2000:]
