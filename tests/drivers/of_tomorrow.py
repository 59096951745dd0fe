"""A driver that speaks another protocol than this harness.

Run as ``PYTHON -m tests.drivers.of_tomorrow READ_FD WRITE_FD``.
"""

from __future__ import annotations

from harness.drivers import channel
from harness.drivers.messages import PROTOCOL
from tests.drivers import parent

if __name__ == "__main__":
    channel.PROTOCOL = PROTOCOL + 1
    parent.main()
