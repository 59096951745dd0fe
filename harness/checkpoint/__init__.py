"""Synthetic Gemma 4 checkpoints: the spec, presets, building one on disk, and prompts for it."""
