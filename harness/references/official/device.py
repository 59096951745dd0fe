"""Where JAX runs: on a GPU where it has one, unless `JAX_PLATFORMS` says otherwise, as it does where serving runs on a CPU."""

from __future__ import annotations

import os

import jax


def choose() -> None:
    """Set how JAX computes; before its first computation. Of a GPU's memory it takes what it needs alone, since serving and
    transformers run there too; products of float32 are of float32, where a GPU would round to TF32; float64 there is."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")


def name() -> str:
    """Where it computes: "cpu", or the kind of a GPU."""
    device = jax.devices()[0]
    return "cpu" if device.platform == "cpu" else f"{device.platform}: {device.device_kind}"
