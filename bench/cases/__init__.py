"""One file per operator: what is measured, against whom, and the goals."""
