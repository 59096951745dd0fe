"""How Keras is imported: with torch, and with its own files where they go with the process."""

from __future__ import annotations

import os
import tempfile


def choose() -> None:
    """Set that before `keras` is imported; it writes a configuration into its folder, which is one of the user's otherwise."""
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ["KERAS_HOME"] = tempfile.gettempdir()
