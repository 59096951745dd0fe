"""Plant a fault of one's own in the running engine, and see that it is seen: python examples/own_mutant.py

This file is two programs. The session runs it as the serving driver, where the fault joins those of the harness before the
engine starts; with `tensor_parallel` of 1 the engine's worker is in that process. A fault that is to stay goes into the
harness instead (docs/extending/mutant.md).
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from harness import OVERLAYS, Case, EngineOptions, Overlay, Session, Setting, verify
from harness.compare import failure
from harness.drivers.process import Driver
from harness.engines.vllm.overlays.targets import change_ranges
from harness.verification.interpreters import Interpreters

EVERY_OTHER = Overlay(
    "every-other-image", "mutant", "the second, fourth, ... image of a request has no range", ("AttentionMetadataBuilder.build",),
    change_ranges(lambda index, ranges, batch: ranges[::2]),
)  # fmt: skip
OVERLAYS[EVERY_OTHER.name] = EVERY_OTHER


@dataclass(frozen=True)
class WithMine(Interpreters):
    """This interpreter as both sides; the serving driver is this file."""

    def start_serving(self, options: EngineOptions, log: Path, scratch: Path) -> Driver:
        environment = options.environment(self.platform)
        return Driver("examples.own_mutant", "serving", self.serving_python, log, environment, scratch)


def main() -> int:
    right = Setting.of(backend="triton", runner="v1")
    with Session(runs=WithMine(sys.executable, sys.executable)) as session:
        for setting in (right, right.with_(overlays=(EVERY_OTHER.name,))):
            result = verify(session, Case("mine", "two images", "t2 i3 t2 i4"), setting)
            print(f"{setting.label}: {failure.text(result)}")
    return 0 if result.verdict.diverges else 1


if __name__ == "__main__" and len(sys.argv) == 3:  # the serving driver is given the two ends of its channel
    from harness.engines.vllm.driver import main as serve

    serve()
elif __name__ == "__main__":
    sys.exit(main())
