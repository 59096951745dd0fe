"""How much of what was meant a report has."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Extent:
    """``done`` of ``planned`` ``unit``, 0 if that is not known; ``ended`` says what ended the run before its end, "" if nothing
    did. ``chosen`` says which part of the whole was asked for, "" if all of it was."""

    done: int
    planned: int
    unit: str = "results"
    ended: str = ""
    chosen: str = ""

    @property
    def sentence(self) -> str:
        """What a reader must know of a part; "" for the whole."""
        done = f"{self.done} of {self.planned} {self.unit}" if self.planned else f"after {self.done} {self.unit}"
        return "; ".join(filter(None, [f"{self.ended}, {done}" if self.ended else "", self.chosen]))

    def to_dict(self) -> dict[str, str | int]:
        return {"sentence": self.sentence, **asdict(self)}
