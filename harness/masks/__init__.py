"""Attention masks: formulas (policies), recovering a mask from a kernel (probe), and differences."""
