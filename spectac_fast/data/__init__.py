"""Studies, cohorts and the physics that makes them. Knows nothing of models."""
