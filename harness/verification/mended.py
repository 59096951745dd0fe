"""Logits that are declared to be off are known only as far as a patch mends them: the engine serves once more with it laid over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.captures.read import Capture
from harness.compare.known import Declared
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.errors import DriverFailure, UsageError
from harness.verification.session import Pair


@dataclass(frozen=True)
class Mended:
    """A batch that was served under a ``setting``: ``serve`` serves it again under another one, ``judge`` compares the pair at a
    place of the batch anew, and ``discard`` is told of captures that are judged. ``meant`` is what is declared of the logits of a
    pair."""

    setting: Setting
    meant: Callable[[Pair], Declared | None]
    serve: Callable[[Setting], Sequence[Capture]]
    judge: Callable[[int, Setting, Pair], CaseResult]
    discard: Callable[[Sequence[Capture]], None]

    def shown(self, results: Sequence[CaseResult], pairs: Sequence[Pair]) -> list[CaseResult]:
        """The results; one that is KNOWN since its logits are off as declared is DIVERGED unless a patch that is said to mend
        them does, and leaves nothing else that is not as expected."""
        served: dict[str, Sequence[Capture]] = {}
        found = list(results)
        for place, result in enumerate(results):
            if (one := self._meant(result, pairs[place])) is not None:
                found[place] = self._shown(one, result, place, pairs[place], served)
        for captures in served.values():
            self.discard(captures)
        return found

    def _meant(self, result: CaseResult, pair: Pair) -> Declared | None:
        one = self.meant(pair) if result.known_by_logits else None
        return one if one and one.mended_by and one.to_dict() == result.declared else None

    def _shown(
        self, one: Declared, result: CaseResult, place: int, pair: Pair, served: dict[str, Sequence[Capture]]
    ) -> CaseResult:
        why = []
        for patch in one.mended_by:
            under = self.setting.with_(overlays=(*self.setting.overlays, patch))
            try:
                if patch not in served:
                    served[patch] = self.serve(under)
                again = self.judge(place, under, replace(pair, serving=served[patch][place], laid=None))
            except (DriverFailure, UsageError) as error:
                why.append(f"`{patch}` could not be laid over: {error}")
                continue
            right = again.logits is not None and again.logits.within and not again.masks_differ
            if again.logits and right and again.verdict.as_expected:
                words = f"with `{patch}` laid over they are within the noise floor, at {again.logits.ratio:.3g} times"
                return replace(result, diagnosis=f"{result.diagnosis}; {words}")
            why.append(f"with `{patch}` laid over it is {again.verdict}: {again.diagnosis}")
        unproved = f"the declaration says that it is mended, and it is not seen to be: {'; '.join(why)}"
        return replace(result, verdict=Verdict.DIVERGED, diagnosis=f"{result.diagnosis}; {unproved}")
