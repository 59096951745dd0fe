"""What the two sides' processors made of a text and its files: the same tokens, and the same pixels and features of each file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from harness.captures.facts import PictureFacts, PromptFacts, VideoFacts
from harness.text import listed

NAMED = 8
"""Times of frames that a sentence names."""


def tokens_differ(reference: PromptFacts, serving: PromptFacts) -> str | None:
    """A sentence on the first token in which the processors differ, and on the frames of videos where these are why."""
    theirs, ours = reference.token_ids, serving.token_ids
    if theirs == ours:
        return None
    both = min(len(theirs), len(ours))
    at = next((place for place in range(both) if theirs[place] != ours[place]), both)
    pieces = {**_pieces(serving), **_pieces(reference)}
    one, other = (_token(side[at], pieces) if at < len(side) else "its end" for side in (theirs, ours))
    why = (
        f"the two processors made different tokens of the prompt: {len(theirs)} in the reference, {len(ours)} in serving; "
        f"the first that differs is at position {at}, {one} in the reference and {other} in serving. Nothing after it was compared"
    )
    return "; ".join([why, *_frames_differ(reference, serving)])


def files_differ(reference: PromptFacts, serving: PromptFacts) -> str | None:
    """A sentence on the first file of which the processors made something else."""
    theirs, ours = reference.processed, serving.processed
    if theirs is None or ours is None:
        return None
    words = [
        *_differ("picture", "pictures", "pixels", "patches", theirs.pictures, ours.pictures),
        *_frames_differ(reference, serving),
    ]
    for number, (one, other) in enumerate(zip(theirs.videos, ours.videos, strict=False), start=1):
        words += _differ(f"video {number}, frame", "frames", "pixels", "patches", one.frames, other.frames)
    words += _differ("audio clip", "audio clips", "features", "mel frames", theirs.clips, ours.clips)
    return "; ".join(words) or None


def taken(reference: PromptFacts, serving: PromptFacts) -> list[str]:
    """What is said of the frames of each video of a prompt, of which both sides took the same, and of files that could not be
    compared since one side does not tell what its processor made of them."""
    ours = reference.processed
    if not ours:
        return []
    files = [*ours.pictures, *ours.videos, *ours.clips]
    if files and serving.processed is None:
        return ["the files were not compared: serving does not tell what its processor made of them", *ours.notes]
    each = enumerate(ours.videos, start=1)
    return [*(f"both processors took of video {number} {_when(one)}" for number, one in each), *ours.notes]


def _pieces(prompt: PromptFacts) -> dict[int, str]:
    pieces = prompt.processed.pieces if prompt.processed else ()
    return dict(zip(prompt.token_ids, pieces, strict=False))


def _token(token: int, pieces: dict[int, str]) -> str:
    return f"{token} ({pieces[token]!r})" if token in pieces else str(token)


def _frames_differ(reference: PromptFacts, serving: PromptFacts) -> Iterator[str]:
    """A sentence on each video of which the processors took other frames."""
    theirs, ours = (side.processed.videos if side.processed else () for side in (reference, serving))
    for number, (one, other) in enumerate(zip_longest(theirs, ours), start=1):
        if one is None or other is None:
            yield f"{len(theirs)} videos were processed in the reference and {len(ours)} in serving"
            return
        told = bool(one.seconds and other.seconds)
        if len(one.frames) != len(other.frames) or (told and _rounded(one) != _rounded(other)):
            yield (
                f"the two processors took other frames of video {number}: {_when(one)} in the reference, "
                f"{_when(other)} in serving"
            )


def _rounded(video: VideoFacts) -> list[float]:
    """In milliseconds: a frame takes more than that, and no sum of two orders less."""
    return [round(second, 3) for second in video.seconds]


def _when(video: VideoFacts) -> str:
    count = f"{len(video.frames)} frame{'s' if len(video.frames) != 1 else ''}"
    at = listed([f"{second:.3g}" for second in video.seconds], NAMED)
    return f"{count}, at {at} s" if video.seconds else count


def _differ(
    name: str, several: str, what: str, rows: str, reference: Sequence[PictureFacts], serving: Sequence[PictureFacts]
) -> list[str]:
    """A sentence on the first of several in which the two sides differ, if they do."""
    if reference == serving:
        return []
    if len(reference) != len(serving):
        return [f"the two processors made {len(reference)} {several} in the reference and {len(serving)} in serving"]
    wrong = [
        number for number, (one, other) in enumerate(zip(reference, serving, strict=True), start=1) if one != other
    ]
    one, other = reference[wrong[0] - 1], serving[wrong[0] - 1]
    also = f" (and of {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return [f"the two processors made different {what} of {name} {wrong[0]}{also}: {_how(one, other, rows)}"]


def _how(one: PictureFacts, other: PictureFacts, rows: str) -> str:
    shapes = [f"{side.patches} {rows} of {side.values} values" for side in (one, other)]
    if shapes[0] != shapes[1]:
        return f"{shapes[0]} in the reference, {shapes[1]} in serving"
    if sorted(one.digests) == sorted(other.digests):
        return f"the same {shapes[0]} in another order"
    places = [place for place, (a, b) in enumerate(zip(one.digests, other.digests, strict=True)) if a != b]
    row = rows.removesuffix("es") if rows == "patches" else rows.removesuffix("s")
    return f"{len(places)} of {shapes[0]} differ, the first is {row} {places[0]}"
