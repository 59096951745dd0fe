"""What a machine without a GPU lacks to run the real engines; `site` goes on PYTHONPATH of driver processes."""
