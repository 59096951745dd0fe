"""Verify one layout, and print what differs.

python examples/run_case.py                  # vLLM's V2 runner leaves an image longer than the window causal
python examples/run_case.py "t3 i5 t4" v1
"""

import sys

from harness import Case, CaseResult, Session, Setting, verify
from harness.compare import failure


def verified(layout: str, runner: str) -> CaseResult:
    """What comes of one layout; a session starts both sides when they are first needed, and ends them."""
    with Session() as session:
        return verify(session, Case("mine", "a layout of mine", layout), Setting.of(backend="triton", runner=runner))


def main(layout: str = "t3 i9 t4", runner: str = "v2") -> int:
    result = verified(layout, runner)
    print(failure.text(result))
    for layer in result.layers:
        print(f"layer {layer.index}, {layer.type}: reference {layer.reference_policy}, serving {layer.serving_policy}")
    if result.logits:
        print(f"logits: off by {result.logits.ratio:.2g} noise floors; within the bound: {result.logits.within}")
    return result.verdict.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
