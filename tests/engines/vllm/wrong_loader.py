"""The serving driver with faults in the loading of weights: layer 0's keys become its values and the other way round, and layer 1
is left without its down projection.

Run as ``PYTHON -m tests.engine.wrong_loader READ_FD WRITE_FD``.
"""

from __future__ import annotations

from dataclasses import replace

from harness.engines.vllm import driver as engine
from harness.engines.vllm.cpu import backends


def plant() -> None:
    from vllm.model_executor.models import gemma4

    original = gemma4._gemma4_layer_weights_mapper
    other = {"k": "v", "v": "k"}

    def mapper(config):
        right = original(config)
        stacked = {
            name: (fused, other.get(shard, shard) if name.startswith("layers.0.") else shard)
            for name, (fused, shard) in right.orig_to_new_stacked.items()
        }
        left_out = {**right.orig_to_new_substr, "layers.1.mlp.down_proj.": None}
        return replace(right, orig_to_new_stacked=stacked, orig_to_new_substr=left_out)

    gemma4._gemma4_layer_weights_mapper = mapper


if __name__ == "__main__":
    backends.register()
    plant()
    engine.main()
