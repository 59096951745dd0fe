"""What the property modules share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from harness.compare.known import Declared
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.report.journal import Recorder
from harness.verification.session import Session
from harness.verification.verify import verify_batch


@pytest.fixture
def served_right(
    session: Session,
    recorded: Recorder,
    harness_expect: Callable,
    harness_known: list[Declared],
    request: pytest.FixtureRequest,
) -> Iterator[Callable]:
    """Asserts that layouts, served together, have the reference's masks and logits.

    What failed last, which is the smallest that hypothesis found, goes into the report of `--harness-report`. The overlays of
    `--harness-overlay` are laid over the serving side.
    """
    overlays = tuple(request.config.getoption("--harness-overlay"))
    failed: list[CaseResult] = []

    def check(layouts: Sequence[Layout], setting: Setting, spec: ModelSpec) -> None:
        results = verify_batch(
            session, layouts, setting.with_(overlays=(*setting.overlays, *overlays)), spec, harness_known
        )
        wrong = [result for result in results if not result.verdict.as_expected]
        failed[:] = wrong or failed
        harness_expect(wrong)

    yield check
    recorded.extend(failed)
