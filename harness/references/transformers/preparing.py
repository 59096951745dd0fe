"""What transformers' processor and towers make of prompts, for a reference that has none for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from harness.captures.facts import ProcessedFacts
from harness.drivers.messages import PreparedPrompt
from harness.references.transformers import attention, precision
from harness.references.transformers.loading import Loaded


class _Reached(Exception):
    """The text model was about to be run."""

    def __init__(self, embeddings: torch.Tensor) -> None:
        super().__init__()
        self.embeddings = embeddings


def prepared(
    loaded: Loaded, arguments: dict, processed: ProcessedFacts | None, forward: Callable, file: Path
) -> PreparedPrompt:
    """Write the embeddings of the soft tokens of the one prompt that ``arguments`` are of; ``forward(model, arguments)`` is how the
    reference calls its model."""
    types = arguments[loaded.family.types][0]
    modeling = loaded.family.modeling
    with attention.by_rows(modeling):
        embeddings = {"soft": _embeddings(loaded.model, lambda: forward(loaded.model, arguments))}
        with precision.kept(loaded.truth.dtype), attention.unrounded(modeling):
            embeddings["truth.soft"] = _embeddings(loaded.truth, lambda: forward(loaded.truth, arguments))
    soft = {name: every[types != 0].cpu().contiguous() for name, every in embeddings.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.view(torch.uint16) if t.dtype == torch.bfloat16 else t for name, t in soft.items()}, file)
    return PreparedPrompt(tuple(arguments["input_ids"][0].tolist()), tuple(types.tolist()), processed, file)


def _embeddings(model: torch.nn.Module, run: Callable[[], object]) -> torch.Tensor:
    """What the text model of ``model`` is given, (tokens, hidden size): it is stopped there."""

    def stop(module: torch.nn.Module, args: tuple, given: dict) -> None:
        raise _Reached(given["inputs_embeds"][0])

    hook = model.model.language_model.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        run()
    except _Reached as reached:
        return reached.embeddings
    finally:
        hook.remove()
    raise RuntimeError("transformers' text model was not called")
