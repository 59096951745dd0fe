"""What a machine without a GPU lacks to run vLLM's attention back ends."""
