"""What a model family is to the rest of the harness. The first is Gemma 4 (`harness.families.gemma4`), the second Gemma 3.

A family has three faces. `Family` is asked in the harness's own process, which has neither transformers nor vLLM;
`ReferenceSide` in the process of the reference, `ServingSide` in that of the engine and its workers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from packaging.specifiers import SpecifierSet

from harness.errors import UsageError
from harness.prompts.case import DEFAULT_PICTURE_TEXT, IMAGE
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Followed:
    """A ``policy`` that layers of a ``kind`` ("sliding", "full") followed in ``releases`` (PEP 440) of a ``reference`` (its name),
    where another one is intended."""

    kind: str
    policy: str
    releases: str
    sentence: str
    reference: str = "transformers"


class Family(ABC):
    """What the harness asks of a family before anything is loaded."""

    name: ClassVar[str]
    """The name of its folder, and `ModelSpec.family`."""
    title: ClassVar[str]
    """Its name for people."""
    model_types: ClassVar[tuple[str, ...]]
    """What `config.json` calls its members."""
    model_class: ClassVar[str]
    """Its class of transformers."""
    words: ClassVar[Mapping[str, str]]
    """By modality what stands for an image, a video or audio in a text that goes through both processors."""
    presets: ClassVar[Mapping[str, ModelSpec]]
    published: ClassVar[Mapping[str, ModelSpec]] = {}
    """The shapes of published models, which have no weights of their own here."""
    intended: ClassVar[Mapping[str, str]]
    """The policy that layers of a kind ("sliding", "full") are meant to follow where images are bidirectional."""
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bfloat16", "float16")
    """Those in which vLLM serves it."""
    followed: ClassVar[tuple[Followed, ...]] = ()
    """What releases of references did instead."""
    released: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    """In which releases (PEP 440) of what (transformers, vllm) there is a member, by its `model_type`; those that are not here are
    in every one that the harness runs."""

    @abstractmethod
    def prompt_for(self, layout: Layout, spec: ModelSpec, seed: int, field: str) -> Prompt:
        """The prompt of a layout; raises UsageError, which calls the layout ``field``, where the model does not take it."""

    @abstractmethod
    def causal(self, spec: ModelSpec) -> ModelSpec:
        """The same model with images that are causal; raises UsageError where the family has none."""

    @abstractmethod
    def letters(self, spec: ModelSpec) -> str:
        """The letters of the notation that the model takes."""

    def check_release(self, spec: ModelSpec, name: str, release: str) -> None:
        """Raise UsageError where this ``release`` of ``name`` (transformers, vllm) has no such model."""
        kind = self.member(spec)
        having = self.released.get(kind, {}).get(name)
        if having and not SpecifierSet(having).contains(release.partition("+")[0], prereleases=True):
            raise UsageError(
                "model", spec.name, f"with {name} {having}, which has the model type {kind}; this is {name} {release}"
            )

    def unit(self, spec: ModelSpec) -> int:
        """Of what number of soft tokens every image has a multiple."""
        return 1

    def takes(self, layout: Layout, spec: ModelSpec) -> bool:
        """Whether the model can be given a layout, by what it is made of and how long it is."""
        letters, unit = self.letters(spec), self.unit(spec)
        return len(layout) < spec.max_length and all(
            segment.form in letters and (segment.form == "t" or segment.soft % unit == 0) for segment in layout.segments
        )

    @abstractmethod
    def limits(self, spec: ModelSpec) -> dict[str, int]:
        """How many items of each modality a request may have; modalities that the model does not take are left out."""

    def largest(self, spec: ModelSpec) -> dict[str, int]:
        """How many tokens vLLM counts for the largest item of each modality; modalities of which it is not known are left out."""
        return {}

    def longest_image(self, spec: ModelSpec) -> int:
        """The soft tokens of the longest image that a layout may have."""
        return spec.max_length

    @abstractmethod
    def spec_of(self, name: str, config: dict, source: str) -> ModelSpec:
        """What the config.json of a checkpoint that exists already says; raises UsageError where it is damaged."""

    def shape_of(self, name: str, config: dict) -> ModelSpec:
        """The shape that a config.json says, for weights that are drawn; raises UsageError where it says what cannot be drawn."""
        raise UsageError("weights", "dummy", f"a {self.title} has none; give a checkpoint")

    @abstractmethod
    def pictures(self, spec: ModelSpec) -> Any:
        """How the image processor cuts pictures, for `soft_tokens`; None where it does not say. Raises UsageError."""

    @abstractmethod
    def soft_tokens(self, field: str, name: str, size: tuple[int, int], cut: Any) -> int:
        """How many soft tokens a picture of this ``size`` (width, height) becomes; raises UsageError, which calls it ``field``
        ``name``, where the processor refuses it."""

    def rate(self, spec: ModelSpec) -> int:
        """How many samples of audio a second the model's processor takes; raises UsageError where it takes no audio, or
        makes something else of a clip each time."""
        raise UsageError("audio", spec.name, f"left out: {self.title} takes none")

    def clip_tokens(self, name: str, samples: int, spec: ModelSpec) -> int:
        """How many soft tokens a clip becomes, which an error calls ``name``; raises UsageError for one that becomes none."""
        raise UsageError("audio", name, f"left out: {spec.name} takes none")

    def video_tokens(self, name: str, frames: int, size: tuple[int, int], spec: ModelSpec) -> int:
        """How many tokens a preset makes of a video, with the marks and times of its frames; raises UsageError for what it does not
        take."""
        raise UsageError("video", name, f"left out: {spec.name} takes none")

    @abstractmethod
    def check_text(self, text: str, places: Mapping[str, int]) -> None:
        """Raise UsageError for a text that the processors would not take with so many ``places`` for files of each modality."""

    @abstractmethod
    def text_tokens(self, text: str, soft: Sequence[int], spec: ModelSpec) -> int:
        """How many tokens a preset's processor makes of a text with pictures of ``soft`` tokens; raises UsageError for too many."""

    @abstractmethod
    def build(self, spec: ModelSpec, cache: Path) -> Path:
        """The checkpoint directory of ``spec`` under ``cache``, written now unless it is there. Imports transformers."""

    def member(self, spec: ModelSpec) -> str:
        """Which of `model_types` the config.json of ``spec`` has."""
        return self.model_types[0]

    @abstractmethod
    def reference_side(self, model_type: str) -> ReferenceSide:
        """The side of a member, one of `model_types`. Imports transformers."""

    @abstractmethod
    def serving_side(self, model_type: str) -> ServingSide:
        """The side of a member, one of `model_types`. Imports torch."""

    def preset(self, name: str) -> ModelSpec | None:
        """The preset of this name, or the causal twin of one."""
        if name in self.presets:
            return self.presets[name]
        whole = name.removesuffix(CAUSAL)
        if whole == name or whole not in self.presets:
            return None
        try:
            return self.causal(self.presets[whole])
        except UsageError:
            return None

    @property
    def picture_text(self) -> str:
        """The text of a drawn picture, of words that presets have."""
        return DEFAULT_PICTURE_TEXT.replace(IMAGE, self.words["image"])

    def policy(self, kind: str, bidirectional: str | None) -> str:
        """The policy that layers of a ``kind`` are meant to follow, under the spec's ``bidirectional``."""
        return self.intended[kind] if bidirectional == "vision" else "causal"

    def known(self, reference: str, release: str, kind: str, policy: str) -> str:
        """What is known of layers of this ``kind`` that follow ``policy`` in a ``release`` of a reference, if anything is."""
        for one in self.followed:
            holds = (one.reference, one.kind, one.policy) == (reference, kind, policy)
            if holds and SpecifierSet(one.releases).contains(release, prereleases=True):
                return one.sentence
        return ""


CAUSAL = "-causal"
"""What the name of a preset's twin ends with whose images are causal."""


class ReferenceSide(ABC):
    """What the driver of transformers asks of a family."""

    modeling: ModuleType
    """transformers' module of the model, whose `eager_attention_forward` is replaced."""
    model: type
    attention: type
    """The class of the text's attention layers."""
    decoder_layer: type
    router: type | None = None
    """The class of the routers of experts, whose `proj` gives the scores."""
    types: str
    """The argument that has the token types."""
    passed_over: tuple[str, ...] = ()
    """Prefixes of tensors that published checkpoints have and neither side has a place for."""
    of_config: Mapping[str, tuple[str, ...]] = {}
    """By a part of the configuration the prefixes of the tensors that neither side builds where it is lacking."""

    @abstractmethod
    def arguments(self, prompts: Sequence[Prompt], config: Any) -> dict[str, torch.Tensor]:
        """The arguments of the model with this ``config`` for prompts of one length; of several prompts, all items are images."""

    @abstractmethod
    def forward(self, model: Any, arguments: dict[str, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        """Logits (prompts, rows, V) at the positions ``rows``; floating arguments have the model's dtype already."""

    @abstractmethod
    def pictures(self, arguments: dict[str, torch.Tensor]) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]:
        """Of each picture that a processor made the patches (patches, values) and their places (patches, 2), negative where
        there is none."""

    def videos(self, arguments: dict[str, torch.Tensor]) -> Sequence[tuple[torch.Tensor, torch.Tensor]]:
        """As `pictures` has them, the frames of each video that a processor made."""
        return ()

    def clips(self, arguments: dict[str, torch.Tensor]) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]:
        """Of each clip of audio the mel frames (frames, values) and their places (frames, 1), negative where there is none."""
        return (), ()

    @abstractmethod
    def prepare(self, model: Any) -> None:
        """Called whenever a model was loaded or attends in another way from now on."""

    def masked(self, model: Any) -> AbstractContextManager[None]:
        """While it is entered, ``model`` attends as its class means to, where transformers' own forward does not; `forward` enters
        it."""
        return nullcontext()

    def note(self, model: Any, arguments: dict[str, torch.Tensor]) -> str:
        """What a verdict has to say of the masks that ``model`` is given for these arguments; nothing where they are its own."""
        return ""


class ServingSide(ABC):
    """What the driver of vLLM and its workers ask of a family."""

    fields: Mapping[str, tuple[str, ...]]
    """By modality the names of the tensors that vLLM's processor makes of an item."""

    @abstractmethod
    def items(self, prompt: Prompt, together: Sequence[Prompt], config: Any) -> Any:
        """The prompt's items as vLLM's own processor would hand them over to the model with this ``config``
        (`MultiModalKwargsItems`). ``together`` are the prompts whose images a release takes as one tensor; empty where it does
        not."""

    @abstractmethod
    def pictures(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Patches and places, as `ReferenceSide.pictures` gives them, of the ``fields`` of one picture."""

    def video(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """As `ReferenceSide.videos` has them, of the ``fields`` of one video."""
        raise NotImplementedError(f"{type(self).__name__} has no videos")

    def clip(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """As `ReferenceSide.clips` has them, of the ``fields`` of one clip."""
        raise NotImplementedError(f"{type(self).__name__} has no audio")

    @abstractmethod
    def name_of(self, name: str) -> str:
        """The checkpoint's name of a parameter of vLLM's model."""

    def drafter(self, checkpoint: Path, directory: Path) -> Path:
        """Write a drafter of a ``checkpoint`` into ``directory``, as vLLM loads it beside the model; returns the directory.

        Raises:
            RuntimeError: these models have none.
        """
        raise RuntimeError(f"{checkpoint}: no drafter is known of its family")


def renamed(name: str, prefixes: Mapping[str, str]) -> str:
    """A name with another prefix, where it has one of these."""
    for ours, theirs in prefixes.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name
