"""What the segments say, for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np

from spectac_fast.evaluate.report.analysis import Phase, segment, signed
from spectac_fast.evaluate.table.render import aligned


def segments_table(phases: Sequence[Phase]) -> str:
    """A line for each phase and kind of image: lowest and highest segment, largest change by the correction."""
    lines = []
    for phase in phases:
        for kind, values in phase.segments.items():
            low, high = int(values.argmin()), int(values.argmax())
            change = ""
            if kind == "corrected" and phase.change is not None:
                k = int(np.abs(phase.change).argmax())
                change = f"{signed(phase.change[k])} {segment(k)}"
            ends = [f"{values[k]:.0f} {segment(k)}" for k in (low, high)]
            lines.append([f"{phase.name} {kind}", *ends, change])
    warnings = [textwrap.fill(f"warning: {text}", 100) for phase in phases for text in phase.warnings]
    table = aligned(["segments, % of maximum", "lowest", "highest", "largest change"], lines)
    return "\n".join([table, *warnings])
