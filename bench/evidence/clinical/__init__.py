"""What the correction does to the numbers physicians read."""
