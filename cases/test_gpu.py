"""The GPU cases under every setting that the release offers; a declared divergence passes while it shows exactly that."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import gpu
from harness.compare.setting import Setting
from harness.families.registry import PRESETS
from harness.prompts import strategies
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.pytest_plugin import serving_python
from harness.verification.interpreters import inspect
from harness.verification.session import Session
from harness.verification.verify import verify

pytestmark = [pytest.mark.gpu, pytest.mark.engine]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The release is asked what it offers only where these tests are wanted and there is a GPU."""
    if "setting" not in metafunc.fixturenames:
        return
    python = serving_python(metafunc.config)
    asked = gpu.wanted(metafunc.config.getoption("markexpr"))
    if "case" in metafunc.fixturenames:
        entries = gpu.entries(python) if asked else []
        metafunc.parametrize(
            ("case", "setting"), entries, ids=[f"{case.name}-{setting.slug}" for case, setting in entries]
        )
    else:
        every = gpu.right(python) if asked else []
        metafunc.parametrize("setting", every, ids=[setting.slug for setting in every])


def test_gpu_case(session: Session, as_expected: Callable, harness_known: list, case: Case, setting: Setting) -> None:
    as_expected(verify(session, case, setting, [*harness_known, *gpu.DECLARED]))


SMALL = PRESETS[gpu.MODEL].with_(window=32)
"""Real heads with a window that generated layouts cross often."""
NEAR = strategies.threshold_layouts(window=SMALL.window, max_tokens=192, borders=strategies.Borders(block=32, tile=64))


@settings(max_examples=max(5, settings.default.max_examples // 2))
@given(layouts=st.lists(NEAR, min_size=1, max_size=8))
def test_generated_layouts_are_equal(served_right: Callable, setting: Setting, layouts: list[Layout]) -> None:
    served_right(layouts, setting, SMALL)


@pytest.mark.parametrize("backend", ["TRITON_ATTN", "auto"])
def test_the_ranks_of_two_gpus_are_one_verdict(session: Session, as_expected: Callable, backend: str) -> None:
    gpus = inspect(session.serving_python)["gpus"]
    if gpus < 2:
        pytest.skip(f"needs 2 GPUs, this machine has {gpus}")
    case = Case("two-ranks", "each rank holds half of the KV heads", "t40 i280 t60 i1120 t9", model=gpu.MODEL)
    result = verify(session, case, gpu.V1.with_(backend=backend, tensor_parallel=2))
    as_expected(result)
    assert {layer.kv_head_groups for layer in result.layers} == {SMALL.kv_heads, SMALL.global_kv_heads}
