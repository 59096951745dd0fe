"""What is verified of the serving engine."""
