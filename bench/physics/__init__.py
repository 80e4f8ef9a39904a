"""What reconstruction costs."""
