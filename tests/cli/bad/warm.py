"""Runs command lines through the real entry point, each in a fork of a process that has imported the harness.

``python -m tests.cli.bad.warm`` reads JSON lines {"args", "out", "cwd"} and answers {"code", "seconds"}; what the command
prints goes to the files ``out``.stdout and ``out``.stderr. A line that starts a driver, or processes that would,
ends with `STARTED` there and then.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
import traceback

STARTED = 99
LONGEST = 30
"""Seconds; a command that takes longer is killed and has the code -14."""


def main() -> None:
    import cases.catalogue  # noqa: F401
    import harness.campaigns.soak
    import harness.cli.app
    import harness.cli.attach
    import harness.report.files
    import harness.verification.usage
    import harness.verification.verify  # noqa: F401
    from harness.cli import main as command
    from harness.engines.vllm.release import release_of
    from harness.verification.interpreters import inspect

    inspect(sys.executable)
    release_of(sys.executable).arguments  # noqa: B018
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        start = time.monotonic()
        child = os.fork()
        if not child:
            _run(command, asked)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps({"code": code, "seconds": time.monotonic() - start}), flush=True)


def _run(command, asked: dict) -> None:
    signal.alarm(LONGEST)
    os.chdir(asked["cwd"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(f"{asked['out']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    sys.addaudithook(_no_driver)
    sys.argv = ["harness", *asked["args"]]
    try:
        code = command()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _no_driver(event: str, arguments: tuple) -> None:
    driver = event == "subprocess.Popen" and any("harness.drivers" in str(word) for word in arguments[1])
    pool = event == "import" and arguments[0] == "multiprocessing.popen_spawn_posix"
    if driver or pool:
        os._exit(STARTED)


if __name__ == "__main__":
    main()
