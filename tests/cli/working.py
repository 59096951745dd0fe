"""Two workers that do nothing for a minute, each after leaving its process id in a folder.

``python -m tests.cli.working FOLDER``
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from harness.cli.parallel import in_parallel
from harness.verification.machines import Cell, Processes
from harness.verification.session import Session


def work(session: Session, folder: Path) -> Iterator[None]:
    (folder / str(os.getpid())).touch()
    time.sleep(60)
    yield


if __name__ == "__main__":
    cells = [Cell("rest", work, (Path(sys.argv[1]),))] * 2
    list(in_parallel(Processes(2), cells, sys.executable, sys.executable))
