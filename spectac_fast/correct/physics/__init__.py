"""Projections in, slices out: what is asked for (`wanted`), attenuation maps on the camera's grid (`maps`), views that
are made or denoised before (`views`), volumes and their planes (`volumes`), any number of files (`reconstructor`).
"""
