"""The reference driver on a machine that has no room for the truth of a checkpoint whose directory is called ``too-large``.

Run as ``PYTHON -m tests.drivers.truth_fails READ_FD WRITE_FD``.
"""

from __future__ import annotations

from harness.references.transformers import driver as reference
from harness.references.transformers import loading

load_model = loading._model


def without_room(checkpoint, dtype, *args, **more):
    if checkpoint.endswith("too-large") and dtype in loading.TRUTH.values():
        raise MemoryError(f"no room for {checkpoint} in {dtype}")
    return load_model(checkpoint, dtype, *args, **more)


if __name__ == "__main__":
    loading._model = without_room
    reference.main()
