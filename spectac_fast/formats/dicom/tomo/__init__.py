"""NM TOMO objects, the projections of a gamma camera: read them (`read`, from what `frames`, `orbit`, `upright` and `windows` make
of a header), write synthetic ones (`synthetic`).
"""
