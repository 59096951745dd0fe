"""The scenario: what happens to the requests of a case."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import UsageError
from harness.options import option


@dataclass(frozen=True)
class Scenario:
    """``chunk`` is vLLM's `max_num_batched_tokens` (None: a whole prompt fits one step); ``mates`` are layouts that are
    served in the same batch, added before the request, ``mates_after`` after it (`harness.verification.mates`).

    Raises:
        UsageError: a chunk of less than one token.
    """

    chunk: int | None = option(
        None, "--chunk", "vLLM's max_num_batched_tokens: prompts are prefilled in chunks of it", label="chunk {}".format
    )
    prefix_caching: bool = option(
        False, "--prefix-caching", "serve with the prefix cache on", label=lambda on: "prefix caching"
    )
    mates: tuple[str, ...] = option(
        (), "--mate", "a layout served in the same batch, before it; with seed=N behind it other words and pictures; repeatable",
        new_engine=False, label=lambda mates: f"{len(mates)} batch mates",
    )  # fmt: skip
    mates_after: tuple[str, ...] = option(
        (), "--mate-after", "as --mate, but added to the batch after the layout; repeatable", new_engine=False,
        label=lambda mates: f"{len(mates)} batch mates after it",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.chunk is not None and self.chunk < 1:
            raise UsageError("chunk", self.chunk, "a chunk is at least 1 token")
