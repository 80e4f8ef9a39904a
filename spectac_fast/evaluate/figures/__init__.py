"""Pictures: colour scales, panels of slices, error maps; matplotlib draws them all. Imports `cohort` and `data` for
what is drawn. Who changes a picture looks at it.
"""
