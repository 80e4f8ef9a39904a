"""What a protocol says of itself in a DICOM header."""

from __future__ import annotations

import numpy as np

from spectac_fast.formats.dicom.synthetic import Settings
from spectac_fast.phantom.scan import COLLIMATORS
from spectac_fast.phantom.simulate import Case
from spectac_fast.reconstruct.camera import view_angles
from spectac_fast.reconstruct.settings import Filter, Reconstruction

SCATTER = {
    "none": "",
    "estimate": "model of the scatter",
    "dew": "dual energy window",
    "exact": "simulated scatter itself",
}
# Of the photopeak; 20 % about 140.5 keV.
PEAK_KEV = (126.45, 154.55)
# A view of the first cohort.
FRAME_MS, FRAME_VIEWS = 25_000, 64


def settings_of(case: Case, kind: str) -> Settings:
    """The settings of a case's NC or AC."""
    protocol, patient = case.protocol, case.patient
    camera, how = protocol.camera, protocol.ac if kind == "AC" else protocol.nc
    angles = view_angles(camera.views, camera.arc, camera.mirrored)
    radius = case.radius_mm if camera.contour else case.radius_mm[:1]
    seconds = protocol.counts / COLLIMATORS[camera.collimator][1] * FRAME_VIEWS / camera.views
    return Settings(
        method=_method(how, kind),
        algorithm=str(how),
        filter=how.filter.kind.capitalize(),
        kernel=_kernel(how.filter),
        scatter=SCATTER[how.scatter],
        collimator=camera.collimator,
        views=camera.views,
        # Ours is 0 at the front and 90 at the left, theirs 180 and 90.
        start_angle=float((180 - angles[0]) % 360),
        angular_step=camera.arc / camera.views,
        scan_arc=camera.arc,
        direction="CC" if angles[1] < angles[0] else "CW",
        radius_mm=radius,
        frame_ms=round(FRAME_MS * seconds),
        prone=protocol.position == "prone",
        height_m=patient.height_cm / 100,
        weight_kg=float(patient.bmi * np.square(patient.height_cm / 100)),
    )


def _method(how: Reconstruction, kind: str) -> str:
    corrections = ("SC" if how.scatter != "none" else "") + ("RR" if how.resolution_recovery else "")
    return ("FBP" if how.method == "FBP" else "IR") + kind + corrections


def _kernel(filter: Filter) -> tuple[str, ...]:
    if filter.kind == "gaussian":
        return (f"FWHM {filter.fwhm_mm:.1f} mm",)
    order = (f"order {filter.power / 2:g}",) if filter.kind == "butterworth" else ()
    return (f"{filter.cutoff:.2f}/cm", *order)
