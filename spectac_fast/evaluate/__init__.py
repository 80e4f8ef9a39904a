"""Evaluation: metrics of slices and patients, the results table with confidence intervals, and the figures."""
