"""Many cases with one aim: soak, mutation, bench, nightly."""
