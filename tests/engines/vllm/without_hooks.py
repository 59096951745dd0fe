"""The serving driver in an engine that calls no hooks, as where every step is a full CUDA graph.

Run as ``PYTHON -m tests.engines.vllm.without_hooks READ_FD WRITE_FD``.
"""

from __future__ import annotations

import sys

from harness.drivers import channel
from harness.engines.vllm.driver import Engine, handlers
from harness.engines.vllm.observer import hooks


def nothing(*args: object) -> None:
    """Instead of reaching into the model."""


if __name__ == "__main__":
    for name in ("after_attention", "around_model", "after_decoder_layers"):
        setattr(hooks, name, nothing)
    channel.serve(handlers(Engine()), int(sys.argv[1]), int(sys.argv[2]))
