"""Synthetic patients: who they are (`people`), what they are made of (`anatomy`, `heart`), and how they are imaged
(`simulate`). Imports `reconstruct` for the physics and writes no files, which `cohort` does. A new kind of patient
is drawn in `people` and built in `anatomy`.
"""
