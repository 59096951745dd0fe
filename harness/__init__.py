"""Reference-versus-serving verification of Gemma 4 attention masks and logits.

The names of `harness.__all__` are the public ones; docs/api.md has a line for each. They are imported when they are first
asked for, since the drivers import this package in interpreters that have little else.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.captures.read import Capture as Capture
    from harness.captures.selection import CaptureSelection as CaptureSelection
    from harness.compare.known import Declared as Declared
    from harness.compare.result import Agreement as Agreement
    from harness.compare.result import CaseResult as CaseResult
    from harness.compare.result import Failure as Failure
    from harness.compare.result import FurtherLayer as FurtherLayer
    from harness.compare.result import FurtherReference as FurtherReference
    from harness.compare.result import LayerResult as LayerResult
    from harness.compare.result import LogitsResult as LogitsResult
    from harness.compare.result import decode_mask as decode_mask
    from harness.compare.setting import Setting as Setting
    from harness.compare.verdict import Verdict as Verdict
    from harness.drivers.timeouts import Timeouts as Timeouts
    from harness.engines.vllm.options import EngineOptions as EngineOptions
    from harness.engines.vllm.overlays import OVERLAYS as OVERLAYS
    from harness.engines.vllm.overlays.overlay import Overlay as Overlay
    from harness.errors import DriverFailure as DriverFailure
    from harness.errors import EnvironmentFailure as EnvironmentFailure
    from harness.errors import UsageError as UsageError
    from harness.families.registry import PRESETS as PRESETS
    from harness.families.registry import preset as preset
    from harness.masks.policies import POLICIES as POLICIES
    from harness.masks.policies import Policy as Policy
    from harness.prompts import strategies as strategies
    from harness.prompts.case import Case as Case
    from harness.prompts.layout import Layout as Layout
    from harness.prompts.layout import Segment as Segment
    from harness.prompts.layout import Span as Span
    from harness.prompts.model_spec import ModelSpec as ModelSpec
    from harness.prompts.scenario import Scenario as Scenario
    from harness.references.options import ReferenceOptions as ReferenceOptions
    from harness.report.files import read_results as read_results
    from harness.report.files import write_report as write_report
    from harness.verification.catalogue import Catalogue as Catalogue
    from harness.verification.session import Session as Session
    from harness.verification.verify import verify as verify
    from harness.verification.verify import verify_all as verify_all
    from harness.verification.verify import verify_batch as verify_batch

_HOMES = {
    "harness.captures.read": ["Capture"],
    "harness.captures.selection": ["CaptureSelection"],
    "harness.compare.known": ["Declared"],
    "harness.compare.result": [
        "Agreement",
        "CaseResult",
        "Failure",
        "FurtherLayer",
        "FurtherReference",
        "LayerResult",
        "LogitsResult",
        "decode_mask",
    ],
    "harness.compare.setting": ["Setting"],
    "harness.compare.verdict": ["Verdict"],
    "harness.drivers.timeouts": ["Timeouts"],
    "harness.engines.vllm.options": ["EngineOptions"],
    "harness.engines.vllm.overlays": ["OVERLAYS"],
    "harness.engines.vllm.overlays.overlay": ["Overlay"],
    "harness.errors": ["DriverFailure", "EnvironmentFailure", "UsageError"],
    "harness.families.registry": ["PRESETS", "preset"],
    "harness.masks.policies": ["POLICIES", "Policy"],
    "harness.prompts": ["strategies"],
    "harness.prompts.case": ["Case"],
    "harness.prompts.layout": ["Layout", "Segment", "Span"],
    "harness.prompts.model_spec": ["ModelSpec"],
    "harness.prompts.scenario": ["Scenario"],
    "harness.references.options": ["ReferenceOptions"],
    "harness.report.files": ["read_results", "write_report"],
    "harness.verification.catalogue": ["Catalogue"],
    "harness.verification.session": ["Session"],
    "harness.verification.verify": ["verify", "verify_all", "verify_batch"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)  # noqa: PLE0605  the table is the list


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOME[name])
    found = getattr(home, name) if hasattr(home, name) else import_module(f"{_HOME[name]}.{name}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
