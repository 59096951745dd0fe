"""A text with pictures, videos and audio, through vLLM's processor and, of a chat, the checkpoint's chat template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from harness.captures import pictures
from harness.captures.facts import PictureFacts, ProcessedFacts, VideoFacts
from harness.engines.vllm import message, releases
from harness.families import decoded, sounds
from harness.families.base import ServingSide
from harness.prompts.prompt import Prompt


class Processing:
    """The processor of an engine, whose model has this ``family`` and ``dtype``, and what it made of each item that it has seen, by
    vLLM's hash of it: what its cache has it leaves out."""

    def __init__(self, llm: Any, family: ServingSide, dtype: torch.dtype) -> None:
        self._llm = llm
        self._family = family
        self._dtype = dtype
        self._seen: dict[str, Any] = {}

    def processed(self, prompt: Prompt, salt: str | None) -> Any:
        """What the engine takes of a text."""
        if prompt.chat:
            rendered = releases.rendered_chat(self._llm, message.content(prompt, _picture))
            if salt:
                rendered["cache_salt"] = salt
        else:
            request: dict = {"prompt": prompt.text, **({"cache_salt": salt} if salt else {})}
            data = {
                "image": [*map(decoded.read, prompt.images)],
                "video": [*map(releases.video, prompt.videos)],
                "audio": [*map(sounds.read, prompt.clips)],
            }
            if data := {modality: some for modality, some in data.items() if some}:
                request["multi_modal_data"] = data
            rendered = releases.processed(self._llm, request)
        for modality, facts_of in facts_by_modality(self._family, self._dtype).items():
            for name, item in releases.items(rendered, modality):
                if item is not None:
                    self._seen[name] = facts_of(item)
        return rendered

    def facts(self, rendered: Any) -> ProcessedFacts:
        """What is to be compared of a text that was processed."""
        tokenizer = self._llm.get_tokenizer()
        pieces = tuple(map(str, tokenizer.convert_ids_to_tokens([*rendered["prompt_token_ids"]])))
        each = {
            modality: tuple(self._seen[name] for name, _ in releases.items(rendered, modality))
            for modality in ("image", "video", "audio")
        }
        return ProcessedFacts(pieces, each["image"], each["video"], each["audio"])


def facts_by_modality(family: ServingSide, dtype: torch.dtype) -> dict[str, Callable[[Any], Any]]:
    """What makes facts of an item of each modality."""

    def picture(item: Any) -> PictureFacts:
        patches, places = family.pictures(releases.tensors(item, family.fields["image"]))
        return pictures.processed([patches], [places], dtype)[0]

    def video(item: Any) -> VideoFacts:
        frames = family.video(releases.tensors(item, family.fields["video"]))
        return VideoFacts(pictures.processed(*frames, dtype, levels=True), releases.seconds(item))

    def clip(item: Any) -> PictureFacts:
        features, places = family.clip(releases.tensors(item, family.fields["audio"]))
        return pictures.processed([features], [places], dtype)[0]

    return {"image": picture, "video": video, "audio": clip}


def _picture(path: str) -> dict[str, Any]:
    return {"type": "image_pil", "image_pil": decoded.read(path)}
