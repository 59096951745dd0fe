"""What a capture says beside its tensors: the content of `capture.json`."""

from __future__ import annotations

from dataclasses import dataclass, field

SCHEMA = 11
ATTENTION_VALUES = 1 << 18
"""The most values that a layer's attention output may have to be captured."""

Held = tuple[int, int | None]
"""Of a tensor the number of elements and the checksum (`harness.drivers.checksum`), none where it is held in a form that has no
values to compare."""


@dataclass(frozen=True)
class LayerFacts:
    """A layer whose mask was observed; ``type`` is "sliding_attention" or "full_attention"."""

    index: int
    type: str


@dataclass(frozen=True)
class Loaded:
    """What a side was made from: a hash of the ``checkpoint`` (`harness.families.content`), what it holds of each tensor in
    the serving dtype, by the checkpoint's names, and the tensors that have values that are no numbers (looked for by the
    reference only)."""

    checkpoint: str
    weights: dict[str, Held]
    not_finite: tuple[str, ...] = ()


@dataclass(frozen=True)
class HeadFacts:
    """By which settings the model computes logits."""

    soft_cap: float | None
    scale: float
    vocabulary: int


@dataclass(frozen=True)
class AfterModel:
    """What is done to logits after the model: tokens that are ``suppressed``, tokens whose logits are ``changed`` otherwise
    (serving only), and what ``others`` a generation_config.json asks for (reference only)."""

    suppressed: tuple[int, ...]
    changed: tuple[int, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineFacts:
    """Which model runner and attention back end serve, by the engine's own names; "auto" where nobody can tell: ``by_api`` says
    that the API of a server alone was asked. ``number`` counts from 0 and says which of the ``count`` data-parallel engines of a
    server it is."""

    runner: str = ""
    backend: str = ""
    by_api: bool = False
    number: int = 0
    count: int = 1


@dataclass(frozen=True)
class PictureFacts:
    """What a processor made of a picture, or of a frame of a video: the number of ``patches``, of ``values`` in one, and a digest
    of each patch and its place. Of a clip of audio the patches are its mel frames."""

    patches: int
    values: int
    digests: tuple[int, ...]


@dataclass(frozen=True)
class VideoFacts:
    """What a processor made of a video: its ``frames``, and at how many seconds of it each was taken, where the side tells."""

    frames: tuple[PictureFacts, ...]
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class ProcessedFacts:
    """What a side's processor made of a text and its files: the ``pieces`` of text that its tokens stand for, where the side tells,
    and the pictures, videos and clips; ``notes`` are sentences that a verdict has to say of it."""

    pieces: tuple[str, ...] = ()
    pictures: tuple[PictureFacts, ...] = ()
    videos: tuple[VideoFacts, ...] = ()
    clips: tuple[PictureFacts, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PromptFacts:
    """What is one prompt's own: its tokens over positions (types: reference only), and the image ranges (first, last) that
    each layer's metadata carried, by the layer's index, and the first and last position of each of the ``steps`` that computed
    some, and of the ``drafts`` how many were compared with given tokens and how many of them accepted (serving only).
    ``processed`` is of a text that went through the side's processor."""

    token_ids: tuple[int, ...]
    token_types: tuple[int, ...] = ()
    ranges: dict[str, list[list[int]] | None] = field(default_factory=dict)
    steps: list[list[int]] = field(default_factory=list)
    processed: ProcessedFacts | None = None
    drafts: list[int] = field(default_factory=lambda: [0, 0])


@dataclass(frozen=True)
class Facts:
    """What holds for all prompts of a stack. ``layers`` are those whose masks were observed, none where no step called hooks.
    Logits are of the positions ``logits_at``, some of them ``log_probabilities`` where the sampler gave those (serving only);
    ``seconds``, by what took them, and the most bytes of ``memory``, by what took it (reference only), are the only facts that
    differ between two runs; ``head`` is None where the model has no such settings; ``special`` are the token ids of boi, eoi, image
    and, where the model takes them, of what marks videos and audio, ``notes`` sentences that a verdict has to say (both reference
    only), ``engine`` is of serving only."""

    layers: tuple[LayerFacts, ...]
    logits_at: tuple[int, ...]
    versions: dict[str, str]
    seconds: dict[str, float]
    loaded: Loaded
    after: AfterModel
    head: HeadFacts | None
    special: dict[str, int] = field(default_factory=dict)
    engine: EngineFacts = EngineFacts()
    log_probabilities: bool = False
    memory: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
