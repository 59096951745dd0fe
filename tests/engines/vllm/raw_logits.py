"""The serving driver, which also answers with what vLLM returns to its users: the raw logits of each sampled token.

Run as ``PYTHON -m tests.engines.vllm.raw_logits READ_FD WRITE_FD``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from harness.drivers import channel
from harness.drivers.messages import Done, LoadEngine, Request, RunEngine, ServePlainly
from harness.engines.vllm.driver import Engine
from harness.prompts.prompt import Prompt

TOKENS = 3


@dataclass(frozen=True)
class Generated:
    """Of each prompt the sampled tokens, and the logits (token, vocabulary) that each was sampled from."""

    tokens: tuple[tuple[int, ...], ...]
    logits: tuple[tuple[tuple[float, ...], ...], ...]


@dataclass(frozen=True)
class Generate(Request[Generated]):
    """Generate `TOKENS` tokens for each prompt, observed into ``out`` if the engine is one that can be."""

    prompts: tuple[Prompt, ...]
    out: Path


class RawLogits(Engine):
    """The engine must run with logprobs_mode raw_logits and max_logprobs -1."""

    def load(self, request: LoadEngine) -> Done:
        super().load(request)
        self.finished: dict = {}
        step = self.llm.llm_engine.step

        def recorded():
            outputs = step()
            self.finished.update({output.request_id: output.outputs[0] for output in outputs if output.finished})
            return outputs

        self.llm.llm_engine.step = recorded
        return Done()

    def generate(self, request: Generate) -> channel.Later[Generated]:
        self.finished.clear()
        if self.observe:
            observed = self.run(RunEngine(request.prompts, request.out))
            finish = observed.finish if isinstance(observed, channel.Later) else lambda: None
        else:
            self.serve_plainly(ServePlainly(request.prompts))
            finish = lambda: None
        completions = [completion for _, completion in sorted(self.finished.items())]
        logits = tuple(
            tuple(tuple(entry.logprob for _, entry in sorted(position.items())) for position in completion.logprobs)
            for completion in completions
        )
        return channel.Later(Generated(tuple(tuple(one.token_ids) for one in completions), logits), finish)

    def _add(self, name: str, entry, tokens: int, *, scores: bool) -> None:
        from vllm import SamplingParams

        sampling = SamplingParams(max_tokens=TOKENS, temperature=0.0, logprobs=-1, ignore_eos=True)
        self.llm.llm_engine.add_request(name, entry, sampling)


def main() -> None:
    engine = RawLogits()
    channel.serve({LoadEngine: engine.load, Generate: engine.generate}, int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    from tests.engines.vllm import raw_logits

    raw_logits.main()  # of the module by its name, where the types of its messages are found
