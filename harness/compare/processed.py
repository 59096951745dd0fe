"""What the two sides' processors made of a text with pictures: the same tokens, and the same pixels of each picture."""

from __future__ import annotations

from collections.abc import Sequence

from harness.captures.facts import PictureFacts

Pictures = Sequence[PictureFacts] | None


def tokens_differ(reference: Sequence[int], serving: Sequence[int]) -> str | None:
    """A sentence on the first token in which the processors differ."""
    if reference == serving:
        return None
    both = min(len(reference), len(serving))
    at = next((place for place in range(both) if reference[place] != serving[place]), both)
    one, other = (str(side[at]) if at < len(side) else "its end" for side in (reference, serving))
    return (
        f"the two processors made different tokens of the prompt: {len(reference)} in the reference, {len(serving)} in serving; "
        f"the first that differs is at position {at}, {one} in the reference and {other} in serving. Nothing after it was compared"
    )


def pictures_differ(reference: Pictures, serving: Pictures) -> str | None:
    """A sentence on the first picture of which the processors made different pixels."""
    if reference is None or serving is None or reference == serving:
        return None
    if len(reference) != len(serving):
        return f"the two processors made {len(reference)} pictures in the reference and {len(serving)} in serving"
    wrong = [
        number for number, (one, other) in enumerate(zip(reference, serving, strict=True), start=1) if one != other
    ]
    one, other = reference[wrong[0] - 1], serving[wrong[0] - 1]
    also = f" (and of {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return f"the two processors made different pixels of picture {wrong[0]}{also}: {_how(one, other)}"


def _how(one: PictureFacts, other: PictureFacts) -> str:
    shapes = [f"{side.patches} patches of {side.values} values" for side in (one, other)]
    if shapes[0] != shapes[1]:
        return f"{shapes[0]} in the reference, {shapes[1]} in serving"
    if sorted(one.digests) == sorted(other.digests):
        return f"the same {shapes[0]} in another order"
    places = [place for place, (a, b) in enumerate(zip(one.digests, other.digests, strict=True)) if a != b]
    return f"{len(places)} of {shapes[0]} differ, the first is patch {places[0]}"
