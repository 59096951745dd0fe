"""Each bug shows exactly what it is said to show, needs every token of its layout, and is gone without its cause."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from cases.history.corpus import CORPUS, Bug
from cases.history.observed import NOTHING, Shown, shown, told
from harness.compare import failure
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.prompts.layout import Layout
from harness.report.journal import Recorder
from harness.verification.mates import with_other_pictures
from harness.verification.session import Session
from harness.verification.verify import verify_batch

# The scope keeps the tests of one bug together, so that engines are started once.
pytestmark = [pytest.mark.engine, pytest.mark.parametrize("bug", CORPUS, ids=lambda bug: bug.name, scope="module")]


def test_it_shows_exactly_this(session: Session, recorded: Recorder, bug: Bug) -> None:
    results = serve(session, bug, layouts_of(bug), bug.setting)
    recorded.extend(results)
    assert tuple(map(shown, results)) == bug.shows, "\n".join(map(failure.text, results))


def test_nothing_shorter_shows_it(session: Session, bug: Bug) -> None:
    for layouts in shorter(layouts_of(bug)):
        what = _told(map(shown, serve(session, bug, layouts, bug.setting)))
        assert what != _told(bug.shows), f"{' | '.join(map(str, layouts))} shows it too"


def test_without_its_cause_all_is_right(session: Session, bug: Bug) -> None:
    for result in serve(session, bug, layouts_of(bug), bug.right):
        assert result.verdict is Verdict.PASS, failure.text(result)


def layouts_of(bug: Bug) -> list[Layout]:
    return [Layout.parse(text) for text in bug.layouts]


def serve(session: Session, bug: Bug, layouts: list[Layout], setting: Setting) -> list[CaseResult]:
    if bug.after_other_pictures:
        setting = setting.with_(before=tuple(map(with_other_pictures, layouts)))
    return verify_batch(session, layouts, setting, bug.spec, name=bug.name)


def shorter(layouts: list[Layout]) -> Iterator[list[Layout]]:
    """One request left out, or one segment of one request left out or one token (one frame) shorter."""
    for index, layout in enumerate(layouts):
        before, after = layouts[:index], layouts[index + 1 :]
        if len(layouts) > 1:
            yield before + after
        for place, segment in enumerate(layout.segments):
            smaller = [replace(segment, soft=segment.soft - 1)] if segment.soft > 1 else []
            smaller += [replace(segment, frames=segment.frames - 1)] if segment.frames > 1 else []
            for instead in [(), *((one,) for one in smaller)]:
                segments = layout.segments[:place] + instead + layout.segments[place + 1 :]
                if segments:
                    yield [*before, Layout(segments), *after]


def _told(what: Iterator[Shown] | tuple[Shown, ...]) -> list:
    """The faults of a batch; which of its requests shows which does not matter, nor those that show nothing."""
    return [told(one) for one in what if one != NOTHING]
