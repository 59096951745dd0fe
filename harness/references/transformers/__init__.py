"""HF transformers as the reference."""
