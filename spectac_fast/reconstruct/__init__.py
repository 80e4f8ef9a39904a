"""Physics: what a gamma camera does to a patient, and how slices are made of its projections. Imports no other room; it
knows neither files nor phantoms, which are its users. A new correction or filter is a function here; a new camera is
numbers in `phantom`.
"""
