"""Training networks of projections: their data (`stacks`), what they learn by (`deviance`), and what is watched."""
