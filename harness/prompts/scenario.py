"""The scenario: what happens to the requests of a case."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import UsageError
from harness.options import check_choices, option

MOST_TIMES = 1000
MOST_DRAFTED = 16
NOBODY, REQUEST, MATES = "nobody", "request", "mates"
NGRAM, MTP = "ngram", "mtp"


@dataclass(frozen=True)
class Scenario:
    """``chunk`` is vLLM's `max_num_batched_tokens` (None: a whole prompt fits one step); ``mates`` are layouts that are
    served in the same batch, added before the request, ``mates_after`` after it (`harness.verification.mates`). ``decode`` is
    the number of tokens that the prompt is continued with, one a step: both sides are given the same. ``before`` are layouts that
    are served to the end one after another before the batch, in the same engine, and ``times`` is how often the batch is served:
    the last time is the one that is compared. With ``poison`` what is free of the KV cache is NaN before each step. ``speculate``
    is the number of tokens that serving drafts at a time, and ``draft`` who does: n-grams that it has seen before, or Gemma 4's own
    drafter (MTP); the tokens that both sides are given then repeat themselves, and now and then do not, so that some drafts are
    accepted and others are not. ``adapter`` says who
    of the batch is served with a LoRA adapter (`harness.families.adapter`).

    Raises:
        UsageError: a chunk of less than one token, less than no token to continue with, less than one time, or drafts where
            nothing is continued.
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

    decode: int = option(
        0, "--decode", "continue the prompt with this many given tokens, one a step, and compare each step",
        new_engine=False, label="decode {}".format,
    )  # fmt: skip

    before: tuple[str, ...] = option(
        (), "--before", "a layout served to the end before the batch, with the layout's own words and pictures as far as they go; "
        "seed=N behind it: others; pictures=N: other pictures with the same words; repeatable",
        new_engine=False, label=lambda layouts: f"after {len(layouts)} requests",
    )  # fmt: skip
    times: int = option(
        1, "--times", "serve the batch this many times, and compare the last time", new_engine=False,
        label="served {} times".format,
    )  # fmt: skip
    poison: bool = option(
        False, "--poison", "fill every free slot of the KV cache with NaN before each step", new_engine=False,
        label=lambda on: "poison",
    )  # fmt: skip

    speculate: int = option(
        0, "--speculate", "let serving draft this many tokens at a time; with --decode, whose tokens then repeat themselves",
        label="drafts of {}".format,
    )  # fmt: skip
    draft: str = option(
        NGRAM, "--draft", "who drafts with --speculate: ngram, what it has seen before, or mtp, Gemma 4's drafter, which is drawn",
        choices=(NGRAM, MTP), label="by {}".format,
    )  # fmt: skip

    adapter: str = option(
        NOBODY, "--adapter", "who of a batch is served with a LoRA adapter, which is drawn: nobody, request (its mates are "
        "not), or mates (the request is not)", choices=(NOBODY, REQUEST, MATES), label="adapter of {}".format,
        new_engine=lambda who: who != NOBODY,
    )  # fmt: skip

    @property
    def drafter(self) -> str:
        """Who drafts, if anybody does."""
        return self.draft if self.speculate else ""

    @property
    def adapted(self) -> bool:
        """Whether the prompt that is compared has the adapter, and so the reference."""
        return self.adapter == REQUEST

    def __post_init__(self) -> None:
        check_choices(self)
        if self.adapter == MATES and not (self.mates or self.mates_after):
            raise UsageError("adapter", self.adapter, "with --mate or --mate-after: nobody else is served")
        if not 1 <= self.times <= MOST_TIMES:
            raise UsageError("times", self.times, f"the batch is served 1 to {MOST_TIMES} times")
        if self.decode < 0:
            raise UsageError("decode", self.decode, "a number of tokens, 0 for none")
        if not 0 <= self.speculate <= MOST_DRAFTED:
            raise UsageError("speculate", self.speculate, f"0 to {MOST_DRAFTED} tokens that are drafted at a time")
        if self.speculate and not self.decode:
            raise UsageError("speculate", self.speculate, "needs --decode: what is not continued has no drafts")
        if self.draft != NGRAM and not self.speculate:
            raise UsageError("draft", self.draft, "with --speculate: nobody drafts without it")
        if self.chunk is not None and self.chunk < 1:
            raise UsageError("chunk", self.chunk, "a chunk is at least 1 token")
