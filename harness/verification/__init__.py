"""From a case to its verdict: interpreters, engines and references that run, one case, a stream of batches."""
