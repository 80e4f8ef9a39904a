"""NM TOMO objects, the projections of a gamma camera: read them (`read`, from what `frames`, `orbit`, `windows` and
others make of a header), write synthetic ones (`synthetic`); read attenuation maps (`maps`), and tell whose they are
(`belonging`).
"""
