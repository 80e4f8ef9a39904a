"""The published code itself, from a checkout of it, beside ours."""
