"""Gemma 3: token ids, presets, the builder of synthetic checkpoints, checkpoints that exist already, and inputs."""
