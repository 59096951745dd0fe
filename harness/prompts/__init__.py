"""What is asked: layouts and the strategies that generate them, model specs, cases."""
