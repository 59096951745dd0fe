"""Reference-versus-serving verification of Gemma 4 attention masks and logits."""
