"""Where voxels lie: resampling by millimetres, neighbouring slices, planes that cross. Imports `formats` for the
series it works on. A question about millimetres is answered here, once.
"""
