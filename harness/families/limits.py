"""Bounds that every family has."""

LONGEST = 8192
"""Tokens of the longest prompt of a checkpoint that exists already, so that the KV cache stays small."""
PICTURES = 64
"""Pictures of one prompt, as many as the harness lets the engine take."""
