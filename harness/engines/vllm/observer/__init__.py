"""The observer: runs inside each vLLM worker and records what its attention layers let through.

`hooks` is where it reaches into the model, `rows` says whose rows a step computes, `probing` recovers a mask from the kernel,
`stacks` puts what the steps saw together.
"""

from harness.engines.vllm.observer.observer import Observer

__all__ = ["Observer"]
