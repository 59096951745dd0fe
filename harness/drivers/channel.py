"""The driver's end of the protocol: JSON lines over two inherited file descriptors.

Standard output and error are the log, whatever libraries print there. Answers come in the order of the requests.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from harness.drivers.messages import PROTOCOL, Failed, Hello, Request
from harness.errors import kind_of
from harness.files import typed

T = TypeVar("T")


@dataclass(frozen=True)
class Later(Generic[T]):
    """An answer that is true when ``finish`` has returned. That runs beside the work on the next request."""

    answer: T
    finish: Callable[[], object]


class Telling:
    """Tells the harness in words how far the request is that the driver works on; before it serves, the log."""

    def __init__(self) -> None:
        self.say: Callable[[str], object] = print

    def __call__(self, text: str) -> None:
        self.say(text)


Handler = Callable[[Any], Any]
"""Takes a request, returns its answer or that as `Later`."""


def serve(
    handlers: Mapping[type[Request], Handler], read_fd: int, write_fd: int, telling: Telling | None = None
) -> None:
    """Say the protocol, then answer requests, each by the handler of its class, until the other end closes; a failed request
    is answered and the driver goes on. What handlers say to ``telling`` meanwhile goes to the other end."""
    classes = {cls.__name__: cls for cls in handlers}

    def handled(asked: dict[str, Any]) -> Any:
        cls = classes[asked["request"]]
        return handlers[cls](typed.read(cls, asked["fields"]))

    with (
        os.fdopen(read_fd, encoding="utf-8") as requests,
        os.fdopen(write_fd, "w", encoding="utf-8") as answers,
        ThreadPoolExecutor(1) as behind,
    ):
        one_at_a_time = threading.Lock()

        def say(line: str) -> None:
            sys.stdout.flush()
            sys.stderr.flush()
            with one_at_a_time:
                answers.write(line + "\n")
                answers.flush()

        def send(number: int, found: Any) -> None:
            line = _guarded(lambda: typed.dumps({"id": number, **_finished(found)}))
            say(typed.dumps({"id": number, "failed": line}) if isinstance(line, Failed) else line)

        say(typed.dumps(Hello(PROTOCOL)))
        if telling:
            telling.say = lambda text: say(typed.dumps({"progress": text}))
        for line in requests:
            asked = json.loads(line)
            found = _guarded(partial(handled, asked))
            behind.submit(send, asked["id"], found)


def _guarded(work: Callable[[], T]) -> T | Failed:
    """What ``work`` returns, or its failure."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - a failed request is answered, and the driver goes on
        traceback.print_exc()
        return Failed(kind_of(error), str(error) or repr(error))


def _finished(found: Any) -> dict[str, Any]:
    if isinstance(found, Failed):
        return {"failed": found}
    if isinstance(found, Later):
        found.finish()
        found = found.answer
    return {"answer": found}
