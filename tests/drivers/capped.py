"""The reference driver with no more data than `HARNESS_TEST_CAP` bytes.

Run as ``PYTHON -m tests.drivers.capped READ_FD WRITE_FD``.
"""

from __future__ import annotations

import os
import resource

from harness.references.transformers import driver as reference

if __name__ == "__main__":
    cap = int(os.environ["HARNESS_TEST_CAP"])
    resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))
    reference.main()
