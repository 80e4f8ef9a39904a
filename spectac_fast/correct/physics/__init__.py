"""Projections in, slices out: what is asked for (`wanted`), attenuation maps on the camera's grid (`maps`), volumes and
their planes (`volumes`), any number of files (`reconstructor`).
"""
