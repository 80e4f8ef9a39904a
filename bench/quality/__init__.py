"""Quality against cost: solvers, numbers of evaluations, trainings side by side."""
