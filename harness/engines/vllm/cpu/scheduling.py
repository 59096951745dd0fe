"""Asynchronous scheduling on a CPU, where it is asked for."""

from __future__ import annotations


def asynchronous() -> None:
    """Let vLLM's CPU platform schedule steps ahead. It turns that off whatever it is asked for, as "not required"
    (`vllm/platforms/cpu.py`), though its runners and executors are those of other platforms; so a deployment's scheduling can be
    verified without a GPU."""
    from vllm.platforms.cpu import CpuPlatform

    original = CpuPlatform.check_and_update_config.__func__

    def check_and_update_config(cls, vllm_config) -> None:
        original(cls, vllm_config)
        vllm_config.scheduler_config.async_scheduling = True

    CpuPlatform.check_and_update_config = classmethod(check_and_update_config)
