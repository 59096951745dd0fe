"""How transformers' models are called: with a prompt's tokens and items, or with what its processor makes of a text."""

from __future__ import annotations

import torch

from harness.captures.facts import PictureFacts
from harness.captures.pictures import processed
from harness.errors import UnsupportedPrompt
from harness.families import decoded
from harness.prompts.prompt import Prompt
from harness.references.transformers.loading import Loaded


def arguments(loaded: Loaded, prompts: list[Prompt]) -> dict:
    if prompts[0].text is not None:
        return _processed(loaded, prompts[0])
    arguments = loaded.family.arguments([prompt.whole for prompt in prompts], loaded.model.config)
    return {name: tensor.to(loaded.device) for name, tensor in arguments.items()}


def _processed(loaded: Loaded, prompt: Prompt) -> dict:
    """A text with pictures, through transformers' processor and, of a chat, the checkpoint's chat template."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(loaded.of.checkpoint, trust_remote_code=False)
    loaded.files.check()
    images = [*map(decoded.read, prompt.images)]
    if prompt.chat:
        if not processor.chat_template:
            raise UnsupportedPrompt("a message goes through a chat template, and the checkpoint has none")
        content = [*({"type": "image", "image": image} for image in images), {"type": "text", "text": prompt.text}]
        batch = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        )  # fmt: skip
    else:
        batch = processor(text=prompt.text, images=images or None, return_tensors="pt")
    batch.pop("attention_mask", None)
    words = torch.tensor([prompt.continuation], dtype=torch.long)
    for name, more in (("input_ids", words), (loaded.family.types, torch.zeros_like(words))):
        batch[name] = torch.cat([batch[name], more], dim=1)
    return {name: value.to(loaded.device) for name, value in batch.items() if torch.is_tensor(value)}


def pictures(loaded: Loaded, prompt: Prompt, arguments: dict) -> tuple[PictureFacts, ...] | None:
    """What the processor made of the pictures of a text."""
    if prompt.text is None:
        return None
    return processed(*loaded.family.pictures(arguments), loaded.dtype)


def forward(loaded: Loaded, model, arguments: dict, rows: torch.Tensor) -> torch.Tensor:
    """Logits (prompts, rows, V) of one of the loaded models at the positions ``rows``, on its device."""
    dtype = model.dtype
    given = {name: value.to(dtype) if value.is_floating_point() else value for name, value in arguments.items()}
    return loaded.family.forward(model, given, rows)


def last_forward(loaded: Loaded, model: torch.nn.Module, arguments: dict) -> torch.Tensor:
    """The logits of the last token, and no others."""
    return forward(loaded, model, arguments, torch.tensor([-1], device=model.device))
