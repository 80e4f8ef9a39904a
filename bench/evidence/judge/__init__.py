"""Whether AC is told from NC by the look of an image alone, and what tells it."""
