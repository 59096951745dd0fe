"""What docs/architecture.md says of one value: it travels inside of its options, and hardly a function takes it alone."""

from __future__ import annotations

import ast

from harness.drivers.process import ROOT

ALONE = {
    "cli/matrix.py: matrix": "its cells, several back ends at once",
    "cli/report.py: report": "a filter of the catalogue",
    "compare/diagnosis.py: explanations": "what really served, of the capture's facts",
    "engines/vllm/release.py: block_sizes": "vLLM's own name, of which its source is asked",
}
"""The functions that have a parameter `backend`, and what it is there. None of them is on the way to the engine."""


def test_no_function_on_the_way_to_the_engine_takes_a_back_end_alone() -> None:
    found = set()
    for path in (ROOT / "harness").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                names = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                if "backend" in names:
                    found.add(f"{path.relative_to(ROOT / 'harness')}: {node.name}")
    assert found == set(ALONE)
