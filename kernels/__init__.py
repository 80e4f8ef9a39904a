"""Triton kernels, importable as `spectac_fast.kernels`. They import torch and triton only."""
