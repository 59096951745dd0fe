"""The entry point in `vllm.general_plugins`, which every process of a server calls: it does nothing unless it is switched on."""

from __future__ import annotations

import os
from functools import cache, wraps
from typing import Any

from harness.engines.vllm.attach import switch
from harness.errors import EnvironmentFailure

EXTENSION = "harness.engines.vllm.attach.extension.AttachExtension"
ANYBODY = "VLLM_SERVER_DEV_MODE"
"""vLLM's variable for a mode in which its API calls any method of the workers."""


@cache
def register() -> None:
    """Let the engine that this process configures mix `AttachExtension` into its workers.

    Raises:
        EnvironmentFailure: its workers have another extension already, or can be asked by anybody.
    """
    if not switch.is_on():
        return
    if os.environ.get(ANYBODY, "0") != "0":
        raise EnvironmentFailure(
            f"{switch.SWITCH} and {ANYBODY} are set: in that mode anybody can ask the workers, without a token"
        )
    from vllm.engine.arg_utils import EngineArgs

    configured = EngineArgs.create_engine_config

    @wraps(configured)
    def create_engine_config(self, *args: Any, **kwargs: Any) -> Any:
        if self.worker_extension_cls not in ("", EXTENSION):
            raise EnvironmentFailure(
                f"{switch.SWITCH} is set and the workers have the extension {self.worker_extension_cls} already: vLLM takes one"
            )
        self.worker_extension_cls = EXTENSION
        return configured(self, *args, **kwargs)

    EngineArgs.create_engine_config = create_engine_config
