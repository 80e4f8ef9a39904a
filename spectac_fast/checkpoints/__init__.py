"""Weights in and out: safetensors with a header, published pickles read without running them, published layouts.
Imports `diffusion`, for the schedules that files hold, and no model: names and shapes are checked against networks
one room up (models/published.py). A new published layout is a file in `layouts/`.
"""
