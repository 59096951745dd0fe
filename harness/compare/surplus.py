"""Keys that a row counts in its softmax beside those that it attends: where, how many, and what they can be.

They come out of the kernel (`harness.masks.probe.Recovered.surplus`). What the metadata claims of ranges explains them only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np

from harness.prompts.layout import Layout

CUT = ", up to the end of each step"
Runs = list[list[int]]
"""Runs of queries: the first, the last, and how many keys each counts beside those that it attends."""


def cut(policy: str) -> str:
    """The name of a policy that lets through only what was computed by the end of the query's step."""
    return f"{policy}{CUT}"


def uncut(name: str) -> tuple[str, bool]:
    """A policy's own name, and whether it was `cut`."""
    return name.removesuffix(CUT), name.endswith(CUT)


def runs(counted: np.ndarray) -> Runs | None:
    """Of the KV head group of ``counted`` (groups, N) that has most; None where nothing is counted."""
    if not counted.any():
        return None
    group = counted[counted.sum(axis=1).argmax()].tolist()
    found: Runs = []
    for more, members in groupby(enumerate(group), key=lambda pair: pair[1]):
        places = [place for place, _ in members]
        if more:
            found.append([places[0], places[-1], more])
    return found


@dataclass(frozen=True)
class Steps:
    """The steps that computed a prompt of ``tokens``: the first and last position ``of`` each."""

    of: list[list[int]]
    tokens: int

    def split(self, layout: Layout) -> bool:
        """Whether an image was computed by more than one step."""
        return any(self.ends[span.start] < span.end for span in layout.spans)

    @cached_property
    def ends(self) -> np.ndarray:
        """The last position of the step that computed each position, (N,); its own where none did."""
        ends = np.arange(self.tokens)
        for first, last in self.of:
            ends[first : last + 1] = last
        return ends

    @property
    def reach(self) -> list[int]:
        """As `ends`, and the last position of all for those that no step computed: what another request left in the prefix cache
        was not cut by these."""
        computed = {position for first, last in self.of for position in range(first, last + 1)}
        return [int(end) if place in computed else self.tokens - 1 for place, end in enumerate(self.ends)]

    @cached_property
    def visible(self) -> np.ndarray:
        """Which keys were computed by the end of each query's step, boolean (N, N)."""
        return np.arange(self.tokens)[None, :] <= self.ends[:, None]

    def number(self, query: int) -> int:
        """The step that computed ``query``, counted from 1."""
        return next((number for number, (first, last) in enumerate(self.of, start=1) if first <= query <= last), 0)

    def beyond(self, layout: Layout, counted: np.ndarray) -> bool:
        """Whether no row of ``counted`` (groups, N) counts more keys than its image has after the row's step."""
        later = np.zeros(self.tokens, dtype=int)
        for span in layout.spans:
            queries = np.arange(span.start, span.end + 1)
            later[queries] = np.maximum(span.end - self.ends[queries], 0)
        return bool((counted <= later).all())


def sentence(
    kind: str, layers: list[int], counted: Runs, ranges: list[list[int]] | None, steps: Steps, layout: Layout
) -> str:
    """What layers of one type count beside the keys that they attend, and where it can come from."""
    where = f"{kind} layers {', '.join(map(str, layers))}" if len(layers) > 1 else f"{kind} layer {layers[0]}"
    queries = sum(last - first + 1 for first, last, _ in counted)
    numbers = sorted({more for *_, more in counted})
    many = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    at = ", ".join(f"{first} to {last}" if last > first else str(first) for first, last, _ in counted[:4])
    at += f" and {len(counted) - 4} runs more" if len(counted) > 4 else ""
    said = (
        f"{where}: {queries} {'queries count' if queries > 1 else 'query counts'} ({at}) {many} "
        f"{'key' if numbers == [1] else 'keys'} more than {'they attend' if queries > 1 else 'it attends'}: "
        f"the weights are 1/(|A| + {many})"
    )
    return f"{said}, {_explained(counted, ranges, steps, layout)}"


def _explained(counted: Runs, ranges: list[list[int]] | None, steps: Steps, layout: Layout) -> str:
    first, _, more = counted[0]
    end = int(steps.ends[first])
    reaching = next(([start, last] for start, last in ranges or () if start <= first <= last and last > end), None)
    if reaching and more <= reaching[1] - end:
        beyond = f"{end + 1} to {end + more}" if more > 1 else f"{end + 1}"
        return (
            f"of keys that do not exist yet: in step {steps.number(first)} the metadata's range {reaching[0]} to {reaching[1]} "
            f"reaches beyond the last computed position {end}, to {beyond}, where nothing of this request is written; vLLM #52306"
        )
    return "of keys whose values add nothing, and no range of the metadata reaches beyond the step"
