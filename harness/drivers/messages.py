"""What the harness asks drivers, and what they answer.

Messages are frozen dataclasses; between processes each is one line of JSON (`harness.files.typed`). A request is
``{"id": 1, "request": "Build", "fields": {...}}``, its answer ``{"id": 1, "answer": {...}}`` or, where it failed,
``{"id": 1, "failed": {...}}``. Before any answer a driver says its protocol, ``{"protocol": 3}``; before an answer it may say how
far it is, ``{"progress": "in words"}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from harness.captures.facts import AfterModel, ProcessedFacts
from harness.errors import FailureKind
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt
from harness.prompts.scenario import MATES, NOBODY, REQUEST

PROTOCOL = 6
"""Counts the changes to messages by which a driver of before would misunderstand the harness, or the harness it."""

A = TypeVar("A")


class Request(Generic[A]):
    """A request that is answered with an ``A``: ``class Build(Request[Built])``."""

    answer: ClassVar[type]

    def __init_subclass__(cls) -> None:
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) is Request:
                (cls.answer,) = get_args(base)


@dataclass(frozen=True)
class Sent(Generic[A]):
    """A request on its way to a driver, and its number there."""

    number: int
    request: Request[A]


@dataclass(frozen=True)
class Hello:
    """The first line of a driver."""

    protocol: int


@dataclass(frozen=True)
class Failed:
    """The answer to a request that failed."""

    kind: FailureKind
    message: str


@dataclass(frozen=True)
class Done:
    """The answer to a request of which there is nothing to tell but that it was done."""


@dataclass(frozen=True)
class Stored:
    """Where the capture of one prompt is: its stack's ``directory`` and its ``place`` there."""

    directory: Path
    place: int


@dataclass(frozen=True)
class Captured:
    """One capture for each prompt, in their order."""

    captures: tuple[Stored, ...]


# The reference driver.


@dataclass(frozen=True)
class Built:
    checkpoint: str


@dataclass(frozen=True)
class Build(Request[Built]):
    """Build the checkpoint of a spec in the directory ``cache``, unless it is there."""

    spec: ModelSpec
    cache: Path


@dataclass(frozen=True)
class ReferenceModel:
    """A checkpoint, the attention implementation that it runs with, its dtype, and in what keys and values are kept, as vLLM's
    `kv_cache_dtype` names it (auto: in its dtype). Where it is ``offload`` it is loaded layer by layer, whenever it is run. It
    is ``adapted`` where the LoRA adapter that is drawn for it is applied."""

    checkpoint: str
    attention: str
    dtype: str
    kv_dtype: str = "auto"
    offload: bool = False
    adapted: bool = False

    def __str__(self) -> str:
        kept = "" if self.kv_dtype == "auto" else f" with keys and values in {self.kv_dtype}"
        kept += " with an adapter" if self.adapted else ""
        return f"{self.checkpoint} {self.attention} {self.dtype}{kept}{' layer by layer' if self.offload else ''}"


@dataclass(frozen=True)
class LoadReference(Request[Done]):
    """Load a model on ``device`` (cpu or cuda) in place of what is loaded."""

    model: ReferenceModel
    device: str


@dataclass(frozen=True)
class PreparedPrompt:
    """A prompt as transformers' processor and towers give it to the text model: its tokens and their types, what was ``processed``
    of a text, and a ``file`` of safetensors with the embeddings of its soft tokens in the order of the prompt, ``soft`` in the
    dtype of the model (bfloat16 as bits in uint16) and ``truth.soft`` one precision up, (soft tokens, hidden size) each."""

    token_ids: tuple[int, ...]
    token_types: tuple[int, ...]
    processed: ProcessedFacts | None
    file: Path


@dataclass(frozen=True)
class Prepared:
    """One for each prompt, in their order; ``after`` is what generation does to logits after the model, ``special`` the token
    ids of boi, eoi and image, as transformers reads them from the checkpoint, which has this ``content``."""

    prompts: tuple[PreparedPrompt, ...]
    after: AfterModel
    special: dict[str, int]
    content: str


@dataclass(frozen=True)
class Prepare(Request[Prepared]):
    """Prepare ``prompts`` for a reference that has no towers or no processor for them, in files below ``out``. ``model`` is what
    must be loaded."""

    model: ReferenceModel
    prompts: tuple[Prompt, ...]
    out: Path


@dataclass(frozen=True)
class Caching:
    """How a reference runs with its own cache: its ``kind``, "dynamic" or "static", and the most tokens of a prompt that are
    computed at once, None for all."""

    kind: str
    prefill_chunk: int | None = None


@dataclass(frozen=True)
class Forced:
    """Masks that are laid over a reference: those of the policies ``sliding`` and ``full`` (`harness.masks.policies`) for layers of
    these types and image ``spans`` (first, last), in the rows of these ``positions``; the others stay as they are. Where there are
    ``ends`` of the rows, none sees a key behind its own."""

    sliding: str
    full: str
    spans: tuple[tuple[int, int], ...]
    positions: tuple[int, ...]
    ends: tuple[int, ...] = ()


@dataclass(frozen=True)
class RunReference(Request[Captured]):
    """Capture ``prompts`` into stacks below ``out``: the masks of ``layers`` and the logits at ``positions``, or of all
    where there are none, with 1 or 2 ``samples`` of the noise floor. ``model`` is what must be loaded. What another driver
    ``prepared`` of them is given to a reference that needs it. Where masks are ``forced``, text layers attend by these instead of
    their own. With ``caching`` the prompts are run a second time, with a cache, and masks and logits of that are captured too."""

    model: ReferenceModel
    prompts: tuple[Prompt, ...]
    out: Path
    layers: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    samples: int = 1
    prepared: Prepared | None = None
    forced: Forced | None = None
    caching: Caching | None = None


# The serving driver.


@dataclass(frozen=True)
class Imported:
    """Names of modules, in the order in which they were imported."""

    modules: tuple[str, ...]


@dataclass(frozen=True)
class AskImported(Request[Imported]):
    """Which modules of other packages than the engine's own are imported."""


@dataclass(frozen=True)
class ImportAhead(Request[Done]):
    """Import ``modules`` before there is an engine, as far as they can be; the engine's own package must not come with them."""

    modules: tuple[str, ...]


@dataclass(frozen=True)
class LoadEngine(Request[Done]):
    """Start an engine for ``checkpoint``: ``arguments`` are the engine's own, ``backend`` and ``runner`` are the
    attention back end and the model runner that were asked for, ``platform`` is what it runs on (cpu or cuda). Without
    ``observe`` it can never be observed."""

    checkpoint: str
    backend: str
    runner: str
    platform: str
    arguments: dict[str, Any]
    overlays: tuple[str, ...] = ()
    observe: bool = True


@dataclass(frozen=True)
class LayOverlays(Request[Done]):
    """Lay overlays over the engine in place of those that lie there. Where one does not fit none lies there afterwards."""

    overlays: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """A tensor of a worker's model that can be changed, or an epsilon: ``holds`` is the tensor of the checkpoint that it was
    loaded from, by its values. ``kind`` is "tensor", "computed" for a buffer that holds none, or "epsilon"."""

    name: str
    kind: str
    holds: str | None


@dataclass(frozen=True)
class Changeable:
    """The parts of a worker's model, and the tensors of the checkpoint that none of them holds."""

    parts: tuple[Part, ...]
    not_loaded: tuple[str, ...]


@dataclass(frozen=True)
class ChangeableTensors(Request[Changeable]):
    """What of the model can be changed, beside the tensors of ``checkpoint``, a directory."""

    checkpoint: str


@dataclass(frozen=True)
class ChangeTensor(Request[Done]):
    """Put back what was changed before, then change the part ``name`` by the share ``by`` of its values; none where the name is
    empty."""

    name: str
    by: float


@dataclass(frozen=True)
class RunEngine(Request[Captured]):
    """Serve ``prompts`` in one batch, with ``mates`` added before them and others ``after`` them, and capture them into stacks
    below ``out``, as `RunReference` says. The engine's prefix cache is emptied first; then each prompt of ``history`` is served to
    the end, and the batch ``times`` times, of which the last one is captured. With ``poison`` what is free of the KV cache is
    NaN before each step. No prompt that is observed while this engine runs has more than ``longest`` tokens, where
    that is given. ``adapter`` says who of the batch is served with the adapter of the checkpoint (`harness.prompts.scenario`);
    ``with_adapter`` of each mate, and then of each after them, whether it has it all the same; None where ``adapter`` says it.
    Without ``masks`` nothing is observed but the logits of the engine's own sampler, as where hooks are not
    called."""

    prompts: tuple[Prompt, ...]
    out: Path
    mates: tuple[Prompt, ...] = ()
    after: tuple[Prompt, ...] = ()
    layers: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    longest: int | None = None
    history: tuple[Prompt, ...] = ()
    times: int = 1
    poison: bool = False
    masks: bool = True
    adapter: str = NOBODY
    with_adapter: tuple[bool | None, ...] = ()

    def adapted(self, names: Sequence[str]) -> list[str]:
        """Those of a batch that are served with the adapter: mates, prompts and those after them have these ``names``, in order."""
        first, last = len(self.mates), len(self.mates) + len(self.prompts)
        own, others = names[first:last], (*names[:first], *names[last:])
        said = self.with_adapter or (None,) * len(others)
        has = [self.adapter == MATES if one is None else one for one in said]
        having = {name for name, one in zip(others, has, strict=True) if one}
        having.update(own if self.adapter == REQUEST else ())
        return [name for name in names if name in having]


@dataclass(frozen=True)
class ServedPlainly:
    """Seconds that the engine took."""

    seconds: float


@dataclass(frozen=True)
class ServePlainly(Request[ServedPlainly]):
    """Serve ``prompts`` in one batch without observing anything."""

    prompts: tuple[Prompt, ...]


@dataclass(frozen=True)
class PeakMemory:
    """The most bytes of GPU memory that tensors of a worker have taken; 0 on a CPU."""

    bytes: int


@dataclass(frozen=True)
class AskMemory(Request[PeakMemory]):
    """How much memory the engine has taken since it was started."""
