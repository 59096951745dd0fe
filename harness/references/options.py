"""Which reference a case is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from harness.options import check_choices, option

ATTENTION = ("eager", "sdpa", "flex_attention")


@dataclass(frozen=True)
class ReferenceOptions:
    """``reference`` is the attention implementation of transformers.

    Raises:
        UsageError: it is not one of `ATTENTION`.
    """

    reference: str = option(
        "eager", "--reference-attention", "transformers' attention: eager, sdpa or flex_attention", choices=ATTENTION, label=str,
        new_engine=False,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_choices(self)
