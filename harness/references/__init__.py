"""Reference implementations, one folder each."""
