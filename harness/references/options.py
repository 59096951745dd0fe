"""Which reference a case is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import UsageError
from harness.options import check_choices, option

ATTENTION = ("eager", "sdpa", "flex_attention")
NO_CACHE = "none"
CACHES = (NO_CACHE, "dynamic", "static")


@dataclass(frozen=True)
class ReferenceOptions:
    """``reference`` is the attention implementation of transformers; where it is ``offload`` its layers are loaded one by one.
    With a ``reference_cache`` it is run with its own cache too, as `generate` prepares it, and judged against itself without one;
    ``prefill_chunk_size`` is the most tokens of the prompt that it then computes at once.

    Raises:
        UsageError: a value is none of its choices, or a chunk is asked for without a cache or of less than one token.
    """

    reference: str = option(
        "eager", "--reference-attention", "transformers' attention: eager, sdpa or flex_attention", choices=ATTENTION, label=str,
        new_engine=False,
    )  # fmt: skip
    offload: bool = option(
        False, "--reference-offload",
        "load the reference layer by layer, when serving has ended, so that it takes little memory (docs/large-models.md)",
        label=lambda _: "reference offloaded", new_engine=False,
    )  # fmt: skip
    reference_cache: str = option(
        NO_CACHE, "--reference-cache", "run the reference with its own cache too, as generate does, and judge it against itself",
        choices=CACHES, new_engine=False, label="reference cache {}".format,
    )  # fmt: skip
    prefill_chunk_size: int | None = option(
        None, "--prefill-chunk-size", "of the reference with a cache: the most tokens of the prompt that generate computes at once",
        new_engine=False, label="prefill chunk {}".format,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_choices(self)
        if self.prefill_chunk_size is None:
            return
        if self.prefill_chunk_size < 1:
            raise UsageError("prefill-chunk-size", self.prefill_chunk_size, "at least 1 token")
        if self.reference_cache == NO_CACHE:
            kinds = " or ".join(CACHES[1:])
            raise UsageError(
                "prefill-chunk-size",
                self.prefill_chunk_size,
                f"with --reference-cache {kinds} alone: its chunks are joined in a cache",
            )
