"""Serving settings: how vLLM is run, and what of that an engine must be started anew for."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, field, replace

from harness.checkpoint.spec import ModelSpec
from harness.drivers.hosting.backends import HOSTED
from harness.errors import UsageError

BACKENDS = {
    "cpu": ("triton", "cpu", "flex"),
    "cuda": ("triton", "flex", "flash", "auto"),
}
VLLM_NAMES = {"triton": "TRITON_ATTN", "flex": "FLEX_ATTENTION", "flash": "FLASH_ATTN"}
CPU_BACKENDS = {"triton": "TRITON_ATTN", "cpu": "CPU_ATTN", "flex": "FLEX_ATTENTION"}
"""vLLM's own names of what serves on a CPU, where its platform calls every back end CPU_ATTN."""
NOT_OF_THE_ENGINE = ("reference", "mates", "mates_after", "overlays", "layers", "positions")
_ENUM_NAME = re.compile(r"[A-Z][A-Z0-9_]+\Z")
RUNNERS = ("auto", "v1", "v2")
DTYPES = ("float32", "bfloat16", "float16")
KV_DTYPES = ("auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2")
MODES = ("eager", "compiled")
KV_CACHE_BYTES = 32 << 30
"""On a GPU. With it vLLM does not measure the free memory, which the reference and other engines change meanwhile; how
much of it is taken says `num_gpu_blocks_override`."""
FREE_MEMORY = 0.05
"""The share of a GPU that must be free before an engine starts (vLLM's `gpu_memory_utilization`, which means nothing else where
the cache's bytes are given): 4 GiB of an H100, what an engine of the shape presets takes."""
KEPT_WEIGHTS = "HARNESS_KEEP_WEIGHTS"
"""The environment variable that makes a worker keep what it loaded beside what it packed from it."""
REFERENCE_ATTENTION = ("eager", "sdpa", "flex_attention")


@dataclass(frozen=True)
class Setting:
    """One way to serve, and the reference to compare it with.

    ``chunk`` is vLLM's `max_num_batched_tokens` (None: a whole prompt fits one step). ``mates`` are
    layouts served in the same batch, added before the request, ``mates_after`` after it (`harness.mates`). ``overlays`` are names from `harness.overlays`. ``arguments``
    are further engine arguments, as (name, value). Where ``layers`` or ``positions`` are given, masks of those layers
    and logits at those positions (negative ones from the end) are compared, instead of all.
    """

    backend: str = "triton"
    runner: str = "auto"
    dtype: str = "float32"
    kv_dtype: str = "auto"
    mode: str = "eager"
    chunk: int | None = None
    prefix_caching: bool = False
    mates: tuple[str, ...] = ()
    tensor_parallel: int = 1
    overlays: tuple[str, ...] = ()
    reference: str = "eager"
    block_size: int = 32
    arguments: tuple[tuple[str, str], ...] = field(default=())
    layers: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    mates_after: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        every = sorted({name for names in BACKENDS.values() for name in names})
        if self.backend not in every and not _ENUM_NAME.match(self.backend):
            raise UsageError("backend", self.backend, f"one of {', '.join(every)}, or a name of vLLM's such as TRITON_ATTN")
        for name, value, allowed in (
            ("runner", self.runner, RUNNERS),
            ("dtype", self.dtype, DTYPES),
            ("kv_dtype", self.kv_dtype, KV_DTYPES),
            ("mode", self.mode, MODES),
            ("reference", self.reference, REFERENCE_ATTENTION),
        ):
            if value not in allowed:
                raise UsageError(name, value, f"one of {', '.join(allowed)}")
        if self.chunk is not None and self.chunk < 1:
            raise UsageError("chunk", self.chunk, "a chunk is at least 1 token")
        if self.block_size < 1:
            raise UsageError("block_size", self.block_size, "a KV block is at least 1 token")
        if self.tensor_parallel < 1:
            raise UsageError("tensor_parallel", self.tensor_parallel, "at least 1 rank")

    def with_(self, **changes: object) -> Setting:
        return replace(self, **changes)

    @property
    def label(self) -> str:
        """A short name for people: only what is not the default."""
        default = Setting()
        words = [self.backend, self.runner, self.dtype]
        for name in ("kv_dtype", "mode", "reference"):
            if getattr(self, name) != getattr(default, name):
                words.append(str(getattr(self, name)))
        words += [f"chunk {self.chunk}"] if self.chunk else []
        words += ["prefix caching"] if self.prefix_caching else []
        beside = len(self.mates) + len(self.mates_after)
        words += [f"{beside} batch mates"] if beside else []
        words += [f"tp {self.tensor_parallel}"] if self.tensor_parallel > 1 else []
        words += [f"block {self.block_size}"] if self.block_size != default.block_size else []
        words += [f"{name}={value}" for name, value in self.arguments]
        return " ".join(words) + "".join(f" +{overlay}" for overlay in self.overlays)

    @property
    def slug(self) -> str:
        """The label as one word, for the names of tests."""
        return self.label.replace(" ", "-")

    def check_host(self, host: str) -> None:
        """Raise UsageError if ``host`` (cpu or cuda) cannot run this."""
        if host == "cpu" and self.kv_dtype != "auto":
            raise UsageError("kv_dtype", self.kv_dtype, "auto on a CPU: its KV cache has the dtype of the model")
        if host == "cpu" and self.backend == "triton" and self.dtype == "bfloat16":
            raise UsageError("dtype", self.dtype, "float32 or float16 with triton on a CPU: its interpreter multiplies bfloat16 wrongly")
        if host == "cpu" and self.mode == "compiled" and self.backend != "cpu":
            raise UsageError("mode", self.mode, "on a CPU only the back end cpu can be compiled; eager with the others")
        if self.backend not in BACKENDS[host] and not (host == "cuda" and _ENUM_NAME.match(self.backend)):
            raise UsageError("backend", self.backend, f"on this machine ({host}) one of {', '.join(BACKENDS[host])}")

    def named_on(self, host: str) -> Setting:
        """With vLLM's own name of the back end, where ``host`` is cuda; on a CPU back ends have names of the harness."""
        return self.with_(backend=vllm_name(self.backend)) if host == "cuda" else self

    @property
    def engine_key(self) -> tuple:
        """Equal keys can share an engine; overlays are laid over a running one and taken back."""
        return tuple(sorted((k, v) for k, v in asdict(self).items() if k not in NOT_OF_THE_ENGINE))

    def environment(self, host: str) -> dict[str, str]:
        """The environment variables of the serving process."""
        variables = {
            "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"),
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",
        }
        if self.runner != "auto":
            variables["VLLM_USE_V2_MODEL_RUNNER"] = self.runner.removeprefix("v").replace("1", "0").replace("2", "1")
        if host == "cpu":
            variables |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", HOSTED: self.backend}
            if self.backend == "triton":
                variables["TRITON_INTERPRET"] = "1"
        else:
            variables["FLASHINFER_DISABLE_VERSION_CHECK"] = "1"
            # One token is sampled greedily; FlashInfer's sampler would be compiled first, which takes two minutes.
            variables["VLLM_USE_FLASHINFER_SAMPLER"] = os.environ.get("VLLM_USE_FLASHINFER_SAMPLER", "0")
        return variables

    def engine_arguments(self, spec: ModelSpec, host: str) -> dict:
        """The keyword arguments of `vllm.LLM`."""
        blocks = 16 * spec.max_length // self.block_size
        arguments: dict = {
            "dtype": self.dtype,
            "kv_cache_dtype": self.kv_dtype,
            "max_model_len": spec.max_length,
            "enforce_eager": self.mode == "eager",
            "enable_prefix_caching": self.prefix_caching,
            "limit_mm_per_prompt": {"image": 64, "video": 8, **({"audio": 8} if spec.audio else {})},
            "skip_mm_profiling": True,
            "block_size": self.block_size,
            "num_gpu_blocks_override": blocks,
            "max_num_batched_tokens": self.chunk or max(8192, spec.max_length),
            "max_num_seqs": min(64, self.chunk or 64),
            "tensor_parallel_size": self.tensor_parallel,
            "seed": 0,
            "disable_log_stats": True,
            "trust_remote_code": False,
            "load_format": "safetensors",
        }
        if host == "cuda":
            arguments["kv_cache_memory_bytes"] = KV_CACHE_BYTES
            arguments["gpu_memory_utilization"] = FREE_MEMORY
        if host == "cuda" and self.backend != "auto":
            arguments["attention_backend"] = vllm_name(self.backend)
        return arguments | {name: _value(value) for name, value in self.arguments}

    def to_dict(self) -> dict:
        return asdict(self)


def vllm_name(backend: str) -> str:
    """A back end by vLLM's own name."""
    return VLLM_NAMES.get(backend, backend)


def _value(text: str) -> object:
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text
