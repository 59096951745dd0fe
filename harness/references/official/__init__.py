"""Google DeepMind's own implementation of Gemma 4 (the distribution `gemma`, in JAX) as a reference."""
