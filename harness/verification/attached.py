"""The two sides where a server that runs already is the serving one."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from harness.compare.setting import Setting
from harness.drivers.process import Driver
from harness.engines.vllm.attach.client import Address
from harness.engines.vllm.attach.protocol import ENGINE, TOKEN_FILE, URL, ServerFacts
from harness.engines.vllm.options import EngineOptions
from harness.errors import UsageError
from harness.families.reading import file_of, json_of
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.verification.interpreters import Asking, Interpreters, inspect
from harness.verification.usage import check_codes

SERVES = "harness.engines.vllm.attach.driver"
"""The module of the driver that has a server serve."""
PLAIN = "the server was started without the plugin and does not say"
CHOSEN = ("layers", "positions", "observe", "times", "reference")
"""The options of a setting that are chosen here; a server has the others already."""


@dataclass(frozen=True)
class Attached(Interpreters):
    """The server at ``address``, with these ``facts``, and a reference here; the driver that speaks to it has the interpreter
    that would serve otherwise. ``number`` is that of its data-parallel engine that is asked, where not all are in turn."""

    address: Address = field(kw_only=True)
    facts: ServerFacts = field(kw_only=True)
    number: int | None = field(default=None, kw_only=True)

    @cached_property
    def platform(self) -> str:
        return self.facts.platform

    @cached_property
    def device(self) -> str:
        found = inspect(self.reference_python)
        return "cuda" if found["gpus"] and not (found["torch"] or "").endswith("+cpu") else "cpu"

    @property
    def release(self) -> str:
        return self.facts.versions["vllm"]

    @property
    def versions(self) -> dict[str, str]:
        of_reference = {name: inspect(self.reference_python)[of] for name, of in self.reference.versions.items()}
        return {**self.facts.versions, **{name: version for name, version in of_reference.items() if version}}

    @property
    def asking(self) -> Asking:
        named = ("--token-file", str(Path(self.address.token_file).absolute())) if self.address.token_file else ()
        one = () if self.number is None else ("--engine", str(self.number))
        return Asking(("attach", self.address.url, *named, *one), CHOSEN, says_chat=False)

    def start_serving(self, options: EngineOptions, log: Path, scratch: Path) -> Driver:
        number = "" if self.number is None else str(self.number)
        where = {URL: self.address.url, TOKEN_FILE: self.address.token_file, ENGINE: number, "HF_HUB_OFFLINE": "1"}
        return Driver(SERVES, "serving", self.serving_python, log, where, scratch)


def setting_of(facts: ServerFacts, chosen: Setting, dtype: str) -> Setting:
    """What a server with these ``facts`` serves with, in ``dtype``, with what was ``chosen``.

    Raises:
        UsageError: it serves with something that the harness does not know, or whose masks cannot be observed.
    """
    setting = chosen.with_(
        backend=facts.engine.backend,
        runner=facts.engine.runner,
        dtype=dtype,
        kv_dtype=facts.kv_dtype,
        mode=facts.mode,
        tensor_parallel=facts.tensor_parallel,
        pipeline_parallel=facts.pipeline_parallel,
        block_size=facts.block_size,
        chunk=facts.step if facts.step < facts.longest else None,
        prefix_caching=facts.prefix_caching,
    )
    check_codes(setting)
    return setting


def dtype_of(facts: ServerFacts, said: str | None, spec: ModelSpec) -> str:
    """What a server computes in: what it tells, else what was ``said``, else what its checkpoint's config.json has.

    Raises:
        UsageError: it is said otherwise than the server tells, or nobody tells.
    """
    if facts.dtype:
        if said not in (None, facts.dtype):
            raise UsageError("dtype", said, f"{facts.dtype}, which is what the server says; leave the option out")
        return facts.dtype
    config = json_of(spec.name, file_of(spec.source, "config.json"))
    places = (config, config.get("text_config") or {})
    found = said or next((one[name] for one in places for name in ("dtype", "torch_dtype") if name in one), None)
    if found not in ("bfloat16", "float16") and said is None:
        raise UsageError("dtype", str(found), f"told by --dtype: {PLAIN}, and of a checkpoint in {found} vLLM chooses")
    return str(found)


def check_engine(facts: ServerFacts, engine: int | None) -> None:
    """Raise UsageError for an engine that the server does not have, or does not tell of."""
    if engine is None or (engine < facts.engines and not facts.engine.by_api):
        return
    allowed = f"one of its data-parallel engines, 0 to {facts.engines - 1}"
    raise UsageError("engine", str(engine), f"left out: {PLAIN}" if facts.engine.by_api else allowed)


def check_layout(facts: ServerFacts, layout: Layout) -> None:
    """Raise UsageError for a layout that the API of this server does not take."""
    if len(layout) >= facts.longest:
        raise UsageError(
            "layout",
            str(layout),
            f"fewer than the {facts.longest} tokens of the server's --max-model-len; it has {len(layout)}",
        )
    forms = {segment.form for segment in layout.segments}
    if "v" in forms:
        raise UsageError(
            "layout",
            str(layout),
            "text, images and sounds: the API cannot be told which tokens of a video are not soft",
        )
    if forms > {"t"} and not facts.scale_out:
        raise UsageError(
            "layout",
            str(layout),
            "text only, or a server with --enable-scale-out: no other route takes token ids with images",
        )
