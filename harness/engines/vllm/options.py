"""What starts one vLLM engine."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from harness.engines.vllm import arguments, attention_backends
from harness.engines.vllm.attach.switch import SWITCH
from harness.engines.vllm.attention_backends import backend
from harness.errors import UsageError
from harness.families.registry import family_of
from harness.options import check_choices, option
from harness.prompts.model_spec import ModelSpec
from harness.prompts.scenario import NGRAM, NOBODY, Scenario

RUNNERS = ("auto", "v1", "v2")
DTYPES = ("float32", "bfloat16", "float16")
KV_DTYPES = (
    "auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2", "int8_per_token_head", "fp8_per_token_head",
    "int4_per_token_head",
)  # fmt: skip
UNCODED = ("int4_per_token_head",)
"""KV dtypes that position codes do not survive: what reads them back finds other keys than were written."""
MODES = ("eager", "compiled")
CPU_BACKEND = "HARNESS_CPU_BACKEND"
"""The environment variable by which the engine's process and its workers know the back end; it is set on a CPU."""
PARTITION = "VLLM_PP_LAYER_PARTITION"
"""vLLM's variable of how many layers each rank of a pipeline has; the engine that is started has it of us."""
KEPT_WEIGHTS = "HARNESS_KEEP_WEIGHTS"
"""The environment variable that makes a worker keep what it loaded beside what it packed from it."""
KV_CACHE_BYTES = 32 << 30
"""On a GPU. With it vLLM does not measure the free memory, which the reference and other engines change meanwhile; how
much of it is taken says `num_gpu_blocks_override`."""
TOGETHER = 64
"""Requests of one engine step, as many as the engine may serve at a time."""
LARGE_CACHE = 8 << 30
"""The two caches of codes that stand beside it (`harness.engines.vllm.observer.probing`) take as much each."""
WIDTH = 2
"""Bytes of a key's or a value's element, as large models are served."""
FREE_MEMORY = 0.05
"""The share of a GPU that must be free before an engine starts (vLLM's `gpu_memory_utilization`, which means nothing else
where the cache's bytes are given): 4 GiB of an H100, what an engine of the shape presets takes."""


def kv_tokens(spec: ModelSpec) -> int:
    """Tokens for which the KV cache has blocks. A prompt takes them once for each of vLLM's groups of layers, which are six in the
    published pattern; a cache of more than `LARGE_CACHE` bytes holds one of the longest prompts, others several."""
    alike = min(spec.layers.count("s"), spec.layers.count("f")) or len(spec.layers)
    lengths = 16 * spec.max_length
    values = max(spec.kv_heads * spec.head_dim, spec.global_kv_heads * spec.global_head_dim)
    return lengths * 3 // 4 if lengths * alike * values * 2 * WIDTH > LARGE_CACHE else lengths


def _pipeline(ranks: int) -> str:
    """The label of a pipeline, with how many layers each rank has where the shell says it."""
    said = os.environ.get(PARTITION)
    return f"pp {ranks}" if said is None else f"pp {ranks} of {said} layers"


@dataclass(frozen=True)
class EngineOptions:
    """What starts one engine, beside the checkpoint and the scenario. ``arguments`` are further arguments of `vllm.LLM`, as
    (name, value).

    Raises:
        UsageError: a value is not allowed.
    """

    backend: str = option(
        "triton", "--backend", "attention back end: triton, cpu, flex; on CUDA also flash, auto", label=str, always=True
    )
    runner: str = option(
        "auto",
        "--runner",
        "vLLM's model runner: v1, v2, or auto for its own choice",
        choices=RUNNERS,
        label=str,
        always=True,
    )
    dtype: str = option("float32", "--dtype", "float32, bfloat16 or float16", choices=DTYPES, label=str, always=True)
    kv_dtype: str = option("auto", "--kv-dtype", "vLLM's kv_cache_dtype", choices=KV_DTYPES, label=str)
    mode: str = option(
        "eager", "--mode", "eager, or compiled with CUDA graphs as production runs it", choices=MODES, label=str
    )
    tensor_parallel: int = option(1, "--tensor-parallel", "number of GPUs", label="tp {}".format)
    pipeline_parallel: int = option(
        1,
        "--pipeline-parallel",
        "number of ranks that have some layers each, times those of --tensor-parallel",
        label=_pipeline,
    )
    block_size: int = option(32, "--block-size", "tokens a KV block", label="block {}".format)
    arguments: tuple[tuple[str, str], ...] = option(
        (),
        "--serving-arg",
        "NAME=VALUE, a further argument of vllm.LLM that schedules or executes requests; repeatable",
        read=arguments.read,
        write="=".join,
        check=arguments.check_own,
        label=lambda given: " ".join(map("=".join, given)),
    )

    def __post_init__(self) -> None:
        backend(self.backend)
        check_choices(self)
        if self.block_size < 1:
            raise UsageError("block_size", self.block_size, "a KV block is at least 1 token")
        if self.tensor_parallel < 1:
            raise UsageError("tensor_parallel", self.tensor_parallel, "at least 1 rank")
        if self.pipeline_parallel < 1:
            raise UsageError("pipeline_parallel", self.pipeline_parallel, "at least 1 rank")

    @property
    def holds_codes(self) -> bool:
        """Whether the KV cache gives position codes back as they were written, so that masks can be observed."""
        return self.kv_dtype not in UNCODED

    @property
    def ranks(self) -> int:
        """Of how many workers the engine consists: on a GPU each has one."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def of_shell(self) -> dict[str, str]:
        """The variables of the shell that decide what is computed, which a command has to be given again."""
        heeded = (PARTITION,) if self.pipeline_parallel > 1 else ()
        return {name: os.environ[name] for name in heeded if name in os.environ}

    def check_platform(self, platform: str) -> None:
        """Raise UsageError if ``platform`` (cpu or cuda) cannot run this."""
        known = backend(self.backend)
        if platform not in known.platforms or (platform == "cpu" and self.backend != known.name):
            names = ", ".join(attention_backends.on(platform))
            raise UsageError("backend", self.backend, f"on this machine ({platform}) one of {names}")
        if platform != "cpu":
            return
        if self.kv_dtype not in known.cpu_kv_dtypes:
            allowed = " or ".join(known.cpu_kv_dtypes)
            raise UsageError("kv_dtype", self.kv_dtype, f"{allowed} with {self.backend} on a CPU")
        if self.dtype not in known.cpu_dtypes:
            allowed = " or ".join(known.cpu_dtypes)
            raise UsageError(
                "dtype",
                self.dtype,
                f"{allowed} with {self.backend} on a CPU: its interpreter multiplies bfloat16 wrongly",
            )
        if self.mode not in known.cpu_modes:
            raise UsageError("mode", self.mode, "on a CPU only the back end cpu can be compiled; eager with the others")

    def named_on(self, platform: str) -> EngineOptions:
        """With vLLM's own name of the back end, where ``platform`` is cuda; on a CPU back ends have names of the harness."""
        return replace(self, backend=backend(self.backend).vllm_name) if platform == "cuda" else self

    def environment(self, platform: str) -> dict[str, str]:
        """The environment variables of the serving process."""
        variables = {
            "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"),
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",
            SWITCH: "",  # an engine of our own is no server for others, whatever the shell has for `harness attach`
        }
        if self.runner != "auto":
            variables["VLLM_USE_V2_MODEL_RUNNER"] = str(int(self.runner == "v2"))
        if platform == "cpu":
            variables |= {
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                CPU_BACKEND: self.backend,
            }
            if self.backend == "triton":
                variables["TRITON_INTERPRET"] = "1"
        else:
            variables["FLASHINFER_DISABLE_VERSION_CHECK"] = "1"
            # One token is sampled greedily; FlashInfer's sampler would be compiled first, which takes two minutes.
            variables["VLLM_USE_FLASHINFER_SAMPLER"] = os.environ.get("VLLM_USE_FLASHINFER_SAMPLER", "0")
        return variables

    def engine_arguments(self, spec: ModelSpec, scenario: Scenario, platform: str) -> dict:
        """The keyword arguments of `vllm.LLM`."""
        own: dict = {
            "dtype": self.dtype,
            "kv_cache_dtype": self.kv_dtype,
            "max_model_len": spec.max_length,
            "enforce_eager": self.mode == "eager",
            "enable_prefix_caching": scenario.prefix_caching,
            "limit_mm_per_prompt": family_of(spec).limits(spec),
            "skip_mm_profiling": True,
            "block_size": self.block_size,
            "num_gpu_blocks_override": kv_tokens(spec) // self.block_size,
            "max_num_batched_tokens": scenario.chunk or max(8192, spec.max_length),
            "max_num_seqs": min(TOGETHER, scenario.chunk or TOGETHER),
            "tensor_parallel_size": self.tensor_parallel,
            "pipeline_parallel_size": self.pipeline_parallel,
            "seed": 0,
            "disable_log_stats": True,
            "max_logprobs": -1,
            "trust_remote_code": False,
            "load_format": "safetensors",
        }
        if scenario.speculate:
            own["speculative_config"] = {"method": scenario.draft, "num_speculative_tokens": scenario.speculate}
        if scenario.drafter == NGRAM:
            own["speculative_config"] |= {"prompt_lookup_min": 1, "prompt_lookup_max": 2}
        if scenario.adapter != NOBODY:
            own |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": 8}
        if platform == "cuda":
            own["kv_cache_memory_bytes"] = KV_CACHE_BYTES
            own["gpu_memory_utilization"] = FREE_MEMORY
        if platform == "cuda" and self.backend != "auto":
            own["attention_backend"] = backend(self.backend).vllm_name
        return own | {name: arguments.value(text) for name, text in self.arguments}
