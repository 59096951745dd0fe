"""Which reference a case is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from harness.options import check_choices, option

ATTENTION = ("eager", "sdpa", "flex_attention")


@dataclass(frozen=True)
class ReferenceOptions:
    """``reference`` is the attention implementation of transformers; where it is ``offload`` its layers are loaded one by one.

    Raises:
        UsageError: it is not one of `ATTENTION`.
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

    def __post_init__(self) -> None:
        check_choices(self)
