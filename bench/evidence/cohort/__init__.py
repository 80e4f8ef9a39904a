"""The synthetic cohort against published figures, and which effect causes what."""
