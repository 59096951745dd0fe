"""The serving driver, which also answers with what vLLM returns to its users: the raw logits of each sampled token.

Run as ``PYTHON -m tests.engines.vllm.raw_logits READ_FD WRITE_FD``.
"""

from __future__ import annotations

import sys

from harness.drivers import channel
from harness.engines.vllm.driver import Engine

TOKENS = 3


class RawLogits(Engine):
    """Generates `TOKENS` tokens a request; the engine must run with logprobs_mode raw_logits and max_logprobs -1."""

    def load(self, request: dict) -> dict:
        answer = super().load(request)
        self.finished: dict = {}
        step = self.llm.llm_engine.step

        def recorded():
            outputs = step()
            self.finished.update({output.request_id: output.outputs[0] for output in outputs if output.finished})
            return outputs

        self.llm.llm_engine.step = recorded
        return answer

    def run(self, request: dict) -> channel.Later:
        self.finished.clear()
        found = super().run(request)
        later = found if isinstance(found, channel.Later) else channel.Later(found, lambda: None)
        logits = [
            [[entry.logprob for _, entry in sorted(position.items())] for position in completion.logprobs]
            for _, completion in sorted(self.finished.items())
        ]
        return channel.Later({**later.answer, "logits": logits}, later.finish)

    def _add(self, name: str, entry) -> None:
        from vllm import SamplingParams

        sampling = SamplingParams(max_tokens=TOKENS, temperature=0.0, logprobs=-1, ignore_eos=True)
        self.llm.llm_engine.add_request(name, entry, sampling)


if __name__ == "__main__":
    engine = RawLogits()
    channel.serve({"load": engine.load, "run": engine.run}, int(sys.argv[1]), int(sys.argv[2]))
