"""Training: one loop for all methods (`loop/`), what a step and a loss are (`learners/`), and recipes, which are
data. Imports `models`, `cohort` and the rooms below these. A new way to train is a learner; another setting is a
JSON file in `recipes/`.
"""
