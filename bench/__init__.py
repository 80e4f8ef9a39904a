"""Measurements: `python -m bench <name>`. Committed numbers, with machine and commit, lie in bench/results."""
