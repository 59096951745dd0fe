"""The driver's end of the protocol: JSON lines over two inherited file descriptors.

Standard output and error are the log, whatever libraries print there. A request is
``{"id": 1, "op": "run", ...}``; the answer ``{"id": 1, "ok": true, ...}`` or
``{"id": 1, "ok": false, "error": ..., "kind": ...}``. Answers come in the order of the requests.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from harness.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Later:
    """An answer that is true when ``finish`` has returned. That runs beside the work on the next request."""

    answer: dict
    finish: Callable[[], object]


def serve(handlers: dict[str, Callable[[dict], dict | Later]], read_fd: int, write_fd: int) -> None:
    """Answer requests until the other end closes; a failed request is answered and the driver goes on."""
    with (
        os.fdopen(read_fd, encoding="utf-8") as requests,
        os.fdopen(write_fd, "w", encoding="utf-8") as answers,
        ThreadPoolExecutor(1) as behind,
    ):

        def send(number: int, answer: dict | Later) -> None:
            line = _guarded(lambda: json.dumps({"id": number, **_finished(answer)}))
            sys.stdout.flush()
            sys.stderr.flush()
            answers.write((line if isinstance(line, str) else json.dumps({"id": number, **line})) + "\n")
            answers.flush()

        for line in requests:
            request = json.loads(line)
            answer = _guarded(lambda request=request: handlers[request["op"]](request))
            behind.submit(send, request["id"], answer)


def _guarded(work: Callable[[], T]) -> T | dict:
    """What ``work`` returns, or its failure as an answer."""
    try:
        return work()
    except Exception as error:
        traceback.print_exc()
        kind = "usage" if isinstance(error, UsageError) else type(error).__name__
        return {"ok": False, "error": str(error) or repr(error), "kind": kind}


def _finished(answer: dict | Later) -> dict:
    if isinstance(answer, Later):
        answer.finish()
        answer = answer.answer
    return {"ok": True, **answer}
