"""What a small field and another pixel size cost: `python -m bench fields`."""
