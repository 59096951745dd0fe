"""Command lines that are bad input, and the files that some of them name."""
