"""The contract between the two sides: what a driver saw of a prompt, as files."""
