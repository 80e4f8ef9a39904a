"""What is said of a correction that may be wrong: by its field, its input, its result."""
