"""A picture of patients under random protocols: what to look at before believing a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bench.outputs import MADE_BY, appearing
from spectac_fast.cohort.cuts import working_stacks
from spectac_fast.data.scale import count_scale
from spectac_fast.phantom.people import Patient
from spectac_fast.phantom.protocol import RANDOM, Protocol
from spectac_fast.phantom.protocols import planned
from spectac_fast.phantom.simulate import simulate
from spectac_fast.terms import IDEAL, PLANES

KINDS = ("NC", "AC", IDEAL, "TRUTH")
MM = (6.8, 6.8, 6.8)
CENTRAL = slice(8, 56)


def picture(path: Path, seeds: Sequence[int]) -> None:
    """Central slices of the planes at stress, a row a patient, in % of each kind's own peak in the heart region."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from spectac_fast.evaluate.figures.colours import perfusion

    torch.set_num_threads(1)
    figure = Figure(figsize=(19, 1.75 * len(seeds)), layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.subplots(len(seeds), 1 + len(PLANES) * len(KINDS), width_ratios=[1.9, *[1] * 12])
    for axis, (plane, kind) in zip(parts[0, 1:], [(p, k) for p in PLANES for k in KINDS], strict=True):
        axis.set_title(f"{plane} {kind}", fontsize=9)
    for row, seed in zip(parts, seeds, strict=True):
        patient, protocol = planned(RANDOM, seed)
        stacks = working_stacks(simulate(patient, protocol, ideal=True), KINDS)[0]
        row[0].text(0, 1, said(patient, protocol), va="top", fontsize=7.5, transform=row[0].transAxes)
        for k in range(len(KINDS)):
            peak = count_scale(stacks[0, k], MM)
            for j in range(len(PLANES)):
                axis = row[1 + j * len(KINDS) + k]
                middle = stacks[j, k, stacks.shape[2] // 2][CENTRAL, CENTRAL]
                axis.imshow(np.minimum(middle / peak, 1), vmin=0, vmax=1, cmap=perfusion())
        for axis in row:
            axis.set_axis_off()
    with appearing(path) as part:
        figure.savefig(part, dpi=85, format="png", metadata=MADE_BY)


def said(patient: Patient, protocol: Protocol) -> str:
    """Patient and protocol in a few lines."""
    camera, field = protocol.camera, protocol.field
    kept = "" if field.outside == "kept" else f", {field.outside} beyond {field.half_mm:.0f} mm"
    return "\n".join(
        [
            f"{patient.seed}: {patient.sex}, BMI {patient.bmi:.0f}, {len(patient.defects)} defects",
            *patient.findings.names,
            f"{camera.collimator}, {camera.matrix} x {camera.pixel_mm:.1f} mm, {camera.views} views / {camera.arc:g}°",
            f"counts x {protocol.counts:.2f}{kept}",
            f"NC {protocol.nc}, {protocol.nc.filter}",
            f"AC {protocol.ac}, {protocol.ac.filter},",
            f"    scatter {protocol.ac.scatter}",
        ]
    )
