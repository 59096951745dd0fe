"""The driver's end of the protocol: JSON lines over two inherited file descriptors.

Standard output and error are the log, whatever libraries print there. A request is
``{"id": 1, "op": "run", ...}``; the answer ``{"id": 1, "ok": true, ...}`` or
``{"id": 1, "ok": false, "error": ..., "kind": ...}``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable

from harness.errors import UsageError


def serve(handlers: dict[str, Callable[[dict], dict]], read_fd: int, write_fd: int) -> None:
    """Answer requests until the other end closes; a failed request is answered and the driver goes on."""
    with os.fdopen(read_fd, encoding="utf-8") as requests, os.fdopen(write_fd, "w", encoding="utf-8") as answers:
        for line in requests:
            request = json.loads(line)
            try:
                answer = {"ok": True, **handlers[request["op"]](request)}
            except Exception as error:
                traceback.print_exc()
                kind = "usage" if isinstance(error, UsageError) else type(error).__name__
                answer = {"ok": False, "error": str(error) or repr(error), "kind": kind}
            sys.stdout.flush()
            sys.stderr.flush()
            answers.write(json.dumps({"id": request["id"], **answer}) + "\n")
            answers.flush()
