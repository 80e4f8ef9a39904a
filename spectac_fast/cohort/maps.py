"""What a case of a cohort of maps holds: a patient's NC reconstructions and attenuation maps, on one grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spectac_fast.cohort.map_cohort import MAP_BELOW, MAP_MM, MAP_SHAPE
from spectac_fast.phantom.anatomy import build
from spectac_fast.phantom.people import Patient
from spectac_fast.phantom.protocol import Protocol
from spectac_fast.phantom.scan import COLLIMATORS, acquire, object_grid, prepare
from spectac_fast.reconstruct.acquired import Acquired
from spectac_fast.reconstruct.grid import Grid
from spectac_fast.reconstruct.post_filter import low_pass
from spectac_fast.reconstruct.regrid import regridded
from spectac_fast.reconstruct.settings import usual

_WHOLE = 0.999


def imaged(patient: Patient, protocol: Protocol, device: str) -> tuple[NDArray[np.float16], dict[str, Any]]:
    """(volumes [kind, 48, 64, 64], what the index says of them): see `cohort.map_cohort`.

    Counts are reconstructed by what the protocol's camera has, but not by its department's settings: a map is made of
    the reconstruction that this package makes of anybody's projections.
    """
    with torch.inference_mode():
        anatomy = build(patient, object_grid(patient, protocol.camera), device)
        scan = prepare(anatomy, protocol.camera, device)
        taken = acquire(patient, anatomy, protocol, scan)
        how, detector = usual(len(scan.angles)), scan.detector
        target = Grid(MAP_SHAPE[1], MAP_SHAPE[0], MAP_MM, MAP_BELOW, detector.centre)
        volumes = []
        for counts in taken.counts:
            acquired = Acquired(
                counts, tuple(scan.angles), tuple(scan.radius), detector.dx, COLLIMATORS[protocol.camera.collimator][0]
            )
            nc = low_pass(acquired.volume(how), detector.dx, how.filter)
            volumes.append(regridded(nc, detector, target))
        volumes += [regridded(mu, scan.object, target) for mu in (anatomy.mu_emission, anatomy.mu_ct)]
        ones = torch.ones((detector.nz, detector.n, detector.n), device=scan.device)
        seen = regridded(ones, detector, target)[:, MAP_SHAPE[1] // 2, MAP_SHAPE[2] // 2].cpu().numpy()
    rows = np.flatnonzero(seen > _WHOLE)
    middle = (target.axis_x().mean(), target.axis_y().mean(), target.axis_z().mean())
    said = {
        "rows": [int(rows[0]), int(rows[-1]) + 1],
        "field_mm": detector.n * detector.dx,
        "heart_mm": [round(float(each), 2) for each in np.array(anatomy.lv.axes.centre) - middle],
    }
    return torch.stack(volumes).cpu().numpy().astype(np.float16), said
