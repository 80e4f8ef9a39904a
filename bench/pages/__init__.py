"""Committed results copied to where people read them: README, model card, weights by name."""
