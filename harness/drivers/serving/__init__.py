"""The serving driver: the vLLM engine, and the observer that lives in its workers."""
