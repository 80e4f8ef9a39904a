"""Fused operators. Each is one page: schema, reference in plain torch, samples; C++, CUDA and Triton only implement it."""
