"""What the 17 segments of pairs of one's own say: how far a row is from AC, in each segment and over all.

Segments are in % of each image's own maximum, so neither the count scale nor the gain enters. Where the ventricle lies
is found on NC. Who is normal and where defects are is not known, so there are no limits and no contrasts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectac_fast.evaluate import bootstrap
from spectac_fast.evaluate.bootstrap import Estimate
from spectac_fast.evaluate.report.analysis import segment
from spectac_fast.evaluate.table.render_models import cell, markdown_table

ERROR, OVER_NC = "error", "error_over_nc"


def against_ac(
    found: NDArray[np.float64], nc: NDArray[np.float64], ac: NDArray[np.float64], seed: int, resamples: int
) -> dict[str, Estimate]:
    """{"error": mean absolute difference to AC, "error_over_nc": its ratio to NC's, "bias 4 basal inferior": mean of
    found - AC, and so on}, percentage points.

    found, nc, ac: float64 [case, phase, 17], NaN where there is no short-axis stack. Phases of a patient are averaged;
    patients are resampled. Empty where nobody has a short-axis stack.
    """
    known: NDArray[np.bool_] = np.asarray(np.isfinite(ac).all(axis=2))
    patients = known.any(axis=1)
    if not patients.any():
        return {}
    indices = bootstrap.resample(int(patients.sum()), seed, resamples)

    def of_patients(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over a patient's phases of values [case, phase, ...]."""
        return np.stack([value[there].mean(axis=0) for value, there in zip(values, known) if there.any()])

    error, of_nc = (of_patients(np.abs(image - ac).mean(axis=2)) for image in (found, nc))
    bias = of_patients(found - ac)
    every = {f"bias {segment(k)}": bootstrap.mean(bias[:, k], indices) for k in range(17)}
    return {ERROR: bootstrap.mean(error, indices), OVER_NC: bootstrap.ratio(error, of_nc, indices)} | every


def section(rows: Sequence[tuple[str, Mapping[str, Any] | None]]) -> str:
    """The segments of (label, what `against_ac` gives, for JSON) as Markdown."""
    there = [(label, found) for label, found in rows if found]
    if not there:
        return "No short-axis stack: no segments."
    lines = [[label, cell(found[ERROR], 2), cell(found[OVER_NC], 3)] for label, found in there]
    biases = [name for name in there[0][1] if name.startswith("bias ")]
    parts = [
        markdown_table(["row", "error to AC, %", "/ NC"], lines),
        "Bias of each segment, row - AC, percentage points:",
        markdown_table(
            ["segment", *(label for label, _ in there)],
            [[name.removeprefix("bias "), *(cell(found[name], 1, "+") for _, found in there)] for name in biases],
        ),
    ]
    return "\n\n".join(parts)
