"""vLLM as the serving side: its options and releases, the driver, the observer in its workers, overlays."""
