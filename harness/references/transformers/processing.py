"""A text with pictures, videos and audio, through transformers' processor and, of a chat, the checkpoint's chat template."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from harness.captures import pictures
from harness.captures.facts import ProcessedFacts, VideoFacts
from harness.errors import UnsupportedPrompt
from harness.families import decoded, sounds
from harness.prompts.prompt import Prompt
from harness.references.transformers.loading import Loaded

WORD = "70317"
"""What is looked for in what a chat template makes of it; it has no letters, which a template may write otherwise."""
DECODER = "opencv"
"""What decodes videos, as in vLLM, so that the two sides' processors are compared and not two decoders."""


def processed(loaded: Loaded, prompt: Prompt) -> tuple[dict[str, torch.Tensor], ProcessedFacts]:
    """The arguments of the model, on the device of ``loaded``, and what is to be compared of them.

    Raises:
        UnsupportedPrompt: a chat needs a template, and the checkpoint has none.
    """
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(loaded.of.checkpoint, trust_remote_code=False)
    loaded.files.check()
    videos, metadata, notes = _videos(processor, prompt.videos)
    images, clips = [*map(decoded.read, prompt.images)], [sounds.read(clip)[0] for clip in prompt.clips]
    sampled: dict[str, Any] = {"video_metadata": metadata, "do_sample_frames": False} if videos else {}
    if prompt.chat:
        batch = _of_chat(processor, prompt.text, {"image": images, "video": videos, "audio": clips}, sampled)
    else:
        given: dict[str, Any] = {"images": images, "videos": videos, "audio": clips}
        given = {name: some for name, some in given.items() if some}
        batch = processor(text=prompt.text, **given, **sampled, return_tensors="pt")
    made = {name: value for name, value in batch.items() if torch.is_tensor(value) and name != "attention_mask"}
    pieces = tuple(map(str, processor.tokenizer.convert_ids_to_tokens(made["input_ids"][0].tolist())))
    facts = replace(
        _facts(loaded, made, [tuple(map(float, one.timestamps)) for one in metadata]), pieces=pieces, notes=notes
    )
    words = torch.tensor([prompt.continuation], dtype=torch.long)
    for name, more in (("input_ids", words), (loaded.family.types, torch.zeros_like(words))):
        made[name] = torch.cat([made[name], more], dim=1)
    return {name: value.to(loaded.device) for name, value in made.items()}, facts


def _of_chat(processor: Any, text: str | None, files: dict[str, list], sampled: dict[str, Any]) -> Any:
    if not give_template(processor):
        raise UnsupportedPrompt("a message goes through a chat template, and the checkpoint has none")
    content: Any = [{"type": kind, kind: one} for kind, some in files.items() for one in some]
    template: Callable = processor.apply_chat_template
    parts = takes_parts(template)
    if not parts:
        if content:
            raise UnsupportedPrompt("the checkpoint's chat template takes text alone: it has no places for files")
        content = text
    else:
        content.append({"type": "text", "text": text})
    takes_apart = "processor_kwargs" in inspect.signature(template).parameters  # since 5.6
    more = {"processor_kwargs": sampled} if sampled and takes_apart else sampled
    try:
        return template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt", **more,
        )  # fmt: skip
    except TypeError as error:
        if parts:
            raise
        why = (
            "the checkpoint's chat template takes text alone, and this release of transformers a message in parts alone"
        )
        raise UnsupportedPrompt(f"{why} (5.8 takes both): {error}") from error


def give_template(processor: Any) -> bool:
    """Give a ``processor`` without a chat template its tokenizer's, which vLLM takes then too; whether it has one now."""
    if not processor.chat_template and processor.tokenizer.chat_template:
        processor.chat_template = processor.tokenizer.get_chat_template()
    return bool(processor.chat_template)


def takes_parts(template: Callable) -> bool:
    """Whether a ``template`` (`apply_chat_template`) takes a message's content as a list of parts. One that takes text alone fails
    with a list, leaves it out, or prints it, as Python or JSON has it."""
    import jinja2

    content = [{"type": "text", "text": WORD}]
    try:
        said = template([{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False)
    except (TypeError, jinja2.TemplateError):
        return False
    return WORD in said and not any(f"{mark}type{mark}" in said for mark in "'\"")


def _videos(processor: Any, files: Sequence[str]) -> tuple[list, list, tuple[str, ...]]:
    """Of each video the frames that the processor takes of it, (frames, height, width, 3) uint8, its metadata, which say which
    these are, and what has to be said of them."""
    if not files:
        return [], [], ()
    from transformers.video_utils import load_video

    most = processor.video_processor.num_frames
    notes = []

    def taken(metadata: Any, **_: Any) -> Any:
        count = metadata.total_num_frames
        if most is None or count >= most:
            return processor.video_processor.sample_frames(metadata)
        notes.append(
            f"transformers itself refuses a video of {count} frames, of which it would take {most}: it was given all of them "
            "(docs/findings/transformers-short-video.md)"
        )
        return range(count)

    found = [load_video(file, backend=DECODER, sample_indices_fn=taken) for file in files]
    return [frames for frames, _ in found], [metadata for _, metadata in found], tuple(notes)


def _facts(loaded: Loaded, made: dict[str, torch.Tensor], seconds: Sequence[tuple[float, ...]]) -> ProcessedFacts:
    family, dtype = loaded.family, loaded.dtype
    each = zip(family.videos(made), seconds, strict=True)
    videos = tuple(VideoFacts(pictures.processed(*frames, dtype, levels=True), when) for frames, when in each)
    return ProcessedFacts(
        pictures=pictures.processed(*family.pictures(made), dtype),
        videos=videos,
        clips=pictures.processed(*family.clips(made), dtype),
    )
