"""Serving engines, one folder each."""
