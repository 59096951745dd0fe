"""Recovering the mask that an attention kernel applied.

The kernel is run with query 0 and key 0, so that each of the |A| keys that a query may attend has
the weight 1/|A|, and with a one-hot code of the key's position as value: in a pass that covers C
keys, position p is 1 on channel ``p % C``. The output is then 1/|A| on the channels of the keys that
were attended and 0 on all others. ceil(N / C) passes recover N keys.

|A| is the number of channels that are not 0. Where their value is 1/(|A| + m) in all of them, the row shares its attention
with m keys more, whose values add nothing: keys that nothing was written for yet, or whose values are masked apart from
their scores. m is told if the precision of the weights leaves one number. Where their value is anything else the kernel did
something that the probe does not understand, and that is an error. Packing several keys into a channel as
powers of two would need fewer passes, but has masks that cannot be told apart: the outputs
(1, 1.5, 2) are the keys (4, 6, 8) of |A| = 4 as well as (6, 9, 12) of |A| = 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from harness.masks.observed import ProbeError, slack

__all__ = ["Decoder", "ProbeError", "Recovered", "codes", "cut", "pack", "passes_for"]


def passes_for(tokens: int, channels: int) -> int:
    """How many passes recover ``tokens`` keys with ``channels`` (a head's size) channels."""
    return math.ceil(tokens / channels)


def codes(positions: torch.Tensor, channels: int, index: int, dtype: torch.dtype) -> torch.Tensor:
    """The values (tokens, channels) of the keys at ``positions`` (tokens,) in pass ``index``."""
    inside = (positions // channels == index).to(dtype)
    values = torch.zeros(len(positions), channels, dtype=dtype, device=positions.device)
    return values.scatter_(1, (positions % channels).long()[:, None], inside[:, None])


@dataclass(frozen=True)
class Recovered:
    """A mask and what was seen beside it. All of it may still be in the making on a GPU; `surplus` waits for it,
    `doubtful` does not.

    ``mask`` is bit-packed, uint8 (..., KV head groups, rows, bytes); per row and query head ``count`` keys with weights
    from ``least`` to ``most``; ``apart`` (..., rows, KV head groups) says where a group's query heads do not agree.
    """

    mask: torch.Tensor
    count: torch.Tensor
    least: torch.Tensor
    most: torch.Tensor
    apart: torch.Tensor
    slack: float

    @property
    def doubtful(self) -> torch.Tensor:
        """Whether `surplus` raises or finds some, a boolean on the mask's device."""
        return self._wrong(self._off()).any() | self.apart.any()

    def _off(self) -> torch.Tensor:
        """How far the weights of each row and query head are from 1/|A|, relative to it."""
        return torch.maximum((self.least * self.count - 1).abs(), (self.most * self.count - 1).abs())

    def _wrong(self, off: torch.Tensor) -> torch.Tensor:
        return (self.count > 0) & ~(off <= self.slack)

    def surplus(self) -> torch.Tensor | None:
        """How many keys beside those of ``mask`` each row counts, int32 (..., KV head groups, rows); None if none does.

        Raises:
            ProbeError: some row's outputs are not all 0 or 1/(|A| + m) for one number m, or all rows have the same share of
                the 1/|A| that they should have, or the query heads of a KV head group do not agree.
        """
        off = self._off()
        wrong = self._wrong(off)
        broken = ~torch.isfinite(off) & wrong
        if broken.any():
            raise ProbeError(f"the kernel's output is not finite in {int(broken.any(-1).sum())} rows")
        more, told = self._more()
        unexplained = wrong & ~told
        if unexplained.any():
            where = tuple(int(index) for index in unexplained.nonzero()[0])
            raise ProbeError(
                f"the weights of {int(unexplained.any(-1).sum())} rows are not 1/|A|; "
                f"the first is row {where[-2]}, head {where[-1]}: "
                f"{int(self.count[where])} keys with weights from {float(self.least[where]):.5g} to {float(self.most[where]):.5g}"
            )
        if self.apart.any():
            *_, row, group = (int(index) for index in self.apart.nonzero()[0])
            raise ProbeError(f"the query heads of KV head group {group} do not agree in row {row}")
        if not wrong.any():
            return None
        more = torch.where(wrong, more, 0)
        if self._scaled(more):
            raise ProbeError(
                f"the weights of all {int((self.count > 0).any(-1).sum())} rows are the same share of 1/|A|: values are scaled"
            )
        return self._by_group(more)

    def _more(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The m of weights that are 1/(|A| + m), int32, and where the slack leaves exactly one; per row and query head."""
        fewest = torch.ceil((1 - self.slack) / self.least.double())
        greatest = torch.floor((1 + self.slack) / self.most.double())
        told = (fewest == greatest) & (fewest > self.count)
        return torch.where(told, fewest - self.count, 0).int(), told

    def _scaled(self, more: torch.Tensor) -> bool:
        """Whether rows with different numbers of keys all count the same multiple of them: no keys do that, a factor does."""
        attended = self.count > 0
        counts, multiples = self.count[attended].double(), (more / self.count.clamp_min(1))[attended]
        return bool((counts != counts[0]).any() and (multiples > 0).all() and (multiples == multiples[0]).all())

    def _by_group(self, more: torch.Tensor) -> torch.Tensor:
        """The same for the query heads of each KV head group, which have to agree."""
        groups = self.apart.shape[-1]
        grouped = more.unflatten(-1, (groups, -1))
        apart = (grouped != grouped[..., :1]).any(-1)
        if apart.any():
            *_, row, group = (int(index) for index in apart.nonzero()[0])
            raise ProbeError(f"the query heads of KV head group {group} do not count the same keys in row {row}")
        return grouped[..., 0].transpose(-1, -2)


class Decoder:
    """Recovers masks from kernel outputs, one pass after another, so that no more than a bit a key is kept.

    A weight may be off by what `slack` says.
    """

    def __init__(self) -> None:
        self._bits: list[torch.Tensor] = []
        self._seen: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None
        self._slack = 0.0

    def add(self, output: torch.Tensor) -> None:
        """Take the next pass: (..., rows, heads, channels), as it came out of the kernel."""
        self._slack = slack(torch.finfo(output.dtype).eps)
        attended = output != 0
        self._bits.append(pack(attended))
        least = torch.where(attended, output, torch.inf).amin(-1).float()
        seen = (attended.sum(-1, dtype=torch.int32), least, output.amax(-1).float())
        if self._seen:
            count, least, most = self._seen
            seen = (count + seen[0], torch.minimum(least, seen[1]), torch.maximum(most, seen[2]))
        self._seen = seen

    def recovered(self, kv_heads: int) -> Recovered:
        """The mask over all keys that the passes covered, one for the query heads of each of ``kv_heads`` groups."""
        assert self._seen is not None, "at least one pass is taken before"
        mask = torch.cat(self._bits, dim=-1)
        *rest, heads, size = mask.shape
        grouped = mask.view(*rest, kv_heads, heads // kv_heads, size)
        first = grouped[..., :1, :]
        apart = (grouped != first).flatten(-2).any(-1)
        return Recovered(first.squeeze(-2).transpose(-2, -3), *self._seen, apart, self._slack)


def cut(mask: torch.Tensor, keys: int) -> torch.Tensor:
    """The first ``keys`` keys of a bit-packed mask (..., bytes).

    Raises:
        ProbeError: a later key is attended as well.
    """
    size = math.ceil(keys / 8)
    beyond = mask[..., size:].any() | (mask[..., size - 1] & (0xFF >> ((keys - 1) % 8 + 1))).any()
    if beyond:
        raise ProbeError(f"a key after the last of the prompt's {keys} tokens is attended")
    return mask[..., :size]


_GATHER = 0x8040201008040201 - (1 << 64)
"""As a factor of eight bytes that are 0 or 1, read as one little-endian number: the byte at place i ends up in bit
63 - i, and no two products meet, since 8 i + 9 j is another number for each pair of places."""


def pack(mask: torch.Tensor) -> torch.Tensor:
    """Boolean (..., keys) as uint8 (..., ceil(keys / 8)), the first key in the highest bit, as `numpy.packbits`."""
    if beyond := -mask.shape[-1] % 8:
        mask = torch.nn.functional.pad(mask, (0, beyond))
    return (mask.contiguous().view(torch.int64) * _GATHER).view(torch.uint8)[..., 7::8].contiguous()
