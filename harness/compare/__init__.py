"""From two captures to a verdict: mask differences, logits against the noise floor, diagnosis."""
