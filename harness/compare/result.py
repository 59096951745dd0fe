"""What is known of one case when it is over; `results.json` is a list of these."""

from __future__ import annotations

import base64
import zlib
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from harness.compare.verdict import Verdict
from harness.errors import DriverFailure, FailureKind
from harness.files import typed

SCHEMA = 5
NODE, AGAIN = "node", "lost with a node, run again"
"""Entries of `CaseResult.extra` that say on which node of a cluster the case ran, and which nodes it lost before."""

WAYS = {
    "reference": "`harness run` and `report --reference-offload` have it go layer by layer when serving has ended "
    "(docs/large-models.md)",
}
"""What helps a side that has not the memory that it needs."""
LESS = "less beside it on the machine or its GPU, other engines of one command among that, leaves it more"
BEGINS = 3
"""Sentences of a message that are about the process that had no memory."""
ADVICE = ". If reserved"
"""What torch's advice begins with, behind what a process tried to have, what there was, and who has the rest."""


def encode_mask(mask: np.ndarray) -> str:
    """A boolean (queries, keys) mask as base64 of zlib of its row-major packed bits."""
    return _encoded(np.packbits(mask, axis=None).tobytes())


@lru_cache(maxsize=8)
def _encoded(packed: bytes) -> str:
    """Remembered, since most layers of a model have one mask."""
    return base64.b64encode(zlib.compress(packed, 6)).decode()


def decode_mask(text: str, tokens: int) -> np.ndarray:
    """The boolean (tokens, tokens) mask that `encode_mask` wrote."""
    packed = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)
    return np.unpackbits(packed, count=tokens * tokens).reshape(tokens, tokens).astype(bool)


@dataclass(frozen=True)
class LayerResult:
    """One layer: pairs (query, key) that each side let through and where they differ.

    ``first_difference`` has query, key, kind ("missing": only the reference attends; "extra": only
    serving does), kv_head_group, and text in token terms. Policies are None where no formula
    explains the observed mask. ``attention_max_abs_diff`` and ``hidden_max_abs_diff`` compare the
    attention output before o_proj and the hidden state after the layer. ``masks`` has "reference"
    and "serving" (`encode_mask`; the first KV head group that differs, else group 0).
    ``surplus`` has, where the rows of serving count keys beside those that they attend, runs of queries [first, last, how many
    keys] (of the KV head group that has most of it). ``declared_ranges`` are the image ranges that this layer's own metadata
    carried in serving.
    """

    index: int
    type: str
    window: int | None
    kv_head_groups: int
    reference_pairs: int
    serving_pairs: int
    missing: int
    extra: int
    reference_policy: str | None
    serving_policy: str | None
    first_difference: dict[str, Any] | None
    attention_max_abs_diff: float | None
    hidden_max_abs_diff: float | None
    declared_ranges: list[list[int]] | None
    masks: dict[str, str]
    surplus: list[list[int]] | None = None

    @property
    def differs(self) -> bool:
        """Whether the observed masks of the two sides differ, or serving counts keys beside its own."""
        return bool(self.missing or self.extra or self.surplus)


@dataclass(frozen=True)
class LogitsResult:
    """Logits of every position against the reference in the higher precision.

    ``noise_floor`` is the largest absolute error of the reference in the serving dtype, of which ``samples`` were taken,
    ``ratio`` how many times the floor serving's error is at the worst position (`harness.compare.logits`), ``bound``
    what it may be there, ``within`` whether it is no more. ``by_position`` has lists over positions: max_abs_diff, kl
    (nats, KL(reference || serving)), floor, bound. ``floor_share`` is how much of the spread of the logits themselves the
    reference's own error is at the median position; ``not_finite`` has the positions at which the logits of "both" sides, of the
    "reference" or of "serving" alone are no numbers.
    """

    max_abs_diff: float
    kl_mean: float
    kl_max: float
    top1_agreement: float
    noise_floor: float
    samples: int
    ratio: float
    bound: float
    within: bool
    position_of_max: int
    position_of_worst: int
    by_position: dict[str, list[float]]
    floor_share: float = 0.0
    not_finite: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Why there is no answer: the ``stage`` that failed ("reference", "serving", "comparison"), and of a driver the end of its
    ``log``."""

    stage: str
    kind: FailureKind
    message: str
    log: str = ""

    @property
    def said(self) -> str:
        """The message; of a lack of memory its beginning, and what helps."""
        if self.kind is not FailureKind.MEMORY:
            return self.message
        of_torch, advice, _ = self.message.partition(ADVICE)
        begins = of_torch if advice else ". ".join(self.message.split(". ")[:BEGINS]).rstrip(".")
        return f"{begins}; {WAYS.get(self.stage, LESS)}"

    @classmethod
    def of(cls, error: DriverFailure) -> Failure:
        return cls(error.stage, error.kind, str(error), error.log)

    def raised(self) -> DriverFailure:
        """The exception that it was."""
        return DriverFailure(self.message, stage=self.stage, kind=self.kind, log=self.log)


@dataclass(frozen=True)
class FurtherLayer:
    """One layer of a further reference. ``apart`` has, by the side that masks otherwise ("reference", "serving"), how many pairs
    [missing, extra] the further reference lacks and has beside it. ``mask`` is that of the first KV head group (`encode_mask`)."""

    index: int
    policy: str | None
    pairs: int
    apart: dict[str, list[int]]
    mask: str


@dataclass(frozen=True)
class FurtherReference:
    """A reference beside the first, by its ``name`` and release. ``logits`` are by side those of serving against it, and its own
    against those of the first reference, where the masks are equal. Where there is an ``error`` it has no answer."""

    name: str
    versions: dict[str, str]
    layers: list[FurtherLayer]
    logits: dict[str, LogitsResult]
    error: Failure | None = None


@dataclass(frozen=True)
class Agreement:
    """Which sides agree in the masks of ``layers``, or in logits where there are none: ``groups`` of names, the largest first.
    ``policies`` are what each side's masks follow there; ``sentence`` names the side that stands alone."""

    layers: list[int]
    groups: list[list[str]]
    policies: dict[str, str | None]
    sentence: str


@dataclass(frozen=True)
class CaseResult:
    """One case under one setting. ``tokens`` is the strip: position, kind, segment, name of each token.

    ``at_fault`` is the side whose masks are not those that are intended, where masks differ, or whose logits are not those of the
    reference's one-shot forward, where a prompt was continued: "reference", "serving" or "both". ``cached_logits`` are then
    those of the reference's own cached decode against that forward. Where there are ``further`` references, ``agreement`` says
    which of all sides agree. ``memory`` is the most bytes that the reference took so far: its process, and its
    tensors on a GPU.
    """

    case: str
    title: str
    layout: str
    verdict: Verdict
    diagnosis: str
    tokens: list[dict[str, Any]]
    layers: list[LayerResult]
    logits: LogitsResult | None
    first_diverging_layer: int | None
    setting: dict[str, Any]
    model: dict[str, Any]
    versions: dict[str, str]
    seconds: dict[str, float]
    reproduce: str
    declared: dict[str, str] | None = None
    error: Failure | None = None
    schema: int = SCHEMA
    extra: dict[str, Any] = field(default_factory=dict)
    at_fault: str | None = None
    further: list[FurtherReference] = field(default_factory=list)
    agreement: list[Agreement] = field(default_factory=list)
    cached_logits: LogitsResult | None = None
    memory: dict[str, int] = field(default_factory=dict)

    @property
    def masks_differ(self) -> bool:
        """Whether the observed masks of the two sides differ in some layer."""
        return any(layer.differs for layer in self.layers)

    @property
    def known_by_masks(self) -> bool:
        """Whether it is KNOWN since its masks differ as declared."""
        return self.verdict is Verdict.KNOWN and self.masks_differ

    @property
    def known_by_logits(self) -> bool:
        """Whether it is KNOWN since its logits are off as declared."""
        off = self.logits is not None and not self.logits.within
        return self.verdict is Verdict.KNOWN and not self.masks_differ and off

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CaseResult:
        layers = [LayerResult(**layer) for layer in data["layers"]]
        logits = LogitsResult(**data["logits"]) if data["logits"] else None
        cached = LogitsResult(**data["cached_logits"]) if data.get("cached_logits") else None
        error = typed.read(Failure, data["error"]) if data["error"] else None
        further = [_further(one) for one in data.get("further", ())]
        agreement = [Agreement(**one) for one in data.get("agreement", ())]
        read = {"layers": layers, "logits": logits, "verdict": Verdict[data["verdict"]], "error": error}
        return cls(**{**data, **read, "cached_logits": cached, "further": further, "agreement": agreement})


def on_node(result: CaseResult, where: str) -> CaseResult:
    """The result of a case that ran ``where``: on a node of a cluster, by name and address; "" on this machine."""
    return replace(result, extra={**result.extra, NODE: where}) if where else result


def _further(data: dict[str, Any]) -> FurtherReference:
    layers = [FurtherLayer(**layer) for layer in data["layers"]]
    logits = {side: LogitsResult(**one) for side, one in data["logits"].items()}
    error = typed.read(Failure, data["error"]) if data["error"] else None
    return FurtherReference(**{**data, "layers": layers, "logits": logits, "error": error})
