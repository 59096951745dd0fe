"""Tests of the harness itself, a folder for each part of it; `cases/` tests the serving engine."""
