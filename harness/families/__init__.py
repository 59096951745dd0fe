"""Model families: their tokens and presets, how a checkpoint is built, and how both sides are given its inputs."""
