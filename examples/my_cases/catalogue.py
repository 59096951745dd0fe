"""A catalogue of one's own: harness report --cases examples/my_cases --out reports/mine

A catalogue has three names: `CASES`, by which one can be asked for (`harness run --cases examples/my_cases --case NAME`),
`DECLARED`, the divergences that are known, and `entries`, what is verified on a platform.
"""

from harness import Case, Declared, Setting

CASES = [
    Case("two-pictures", "a question about two pictures", "t3 i5 t2 i7 t6"),
    Case("long-picture", "a picture longer than the window", "t3 i12 t4"),
]

DECLARED = [
    Declared(
        policy="drop",
        link="https://github.com/vllm-project/vllm/issues/50539",
        reason="the V2 runner leaves images longer than the window causal",
        backends=("triton", "TRITON_ATTN"),
        runners=("v2",),
        releases=">=0.25",
    )
]


def entries(platform: str, python: str) -> list[tuple[Case, Setting]]:
    """Every case under every setting, one setting after another, so that each engine is started once."""
    backend = "triton" if platform == "cpu" else "TRITON_ATTN"
    settings = [Setting.of(backend=backend, runner=runner) for runner in ("v1", "v2")]
    return [(case, setting) for setting in settings for case in CASES]
