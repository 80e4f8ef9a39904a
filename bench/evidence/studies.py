"""Studies to measure a whole run with: the demonstration patient under as many identities as wanted."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from spectac_fast.data import demo
from spectac_fast.formats.dicom import read_series, write_series
from spectac_fast.formats.series import Series


def write_studies(folder: Path, count: int, *, slices: int | None = None) -> int:
    """Write `count` NC studies below `folder`, each in a folder of its own; returns the number of slices of all.

    slices: None is a whole study, stress and rest in three planes; a number is a small one, that many slices from the
    middle of one short-axis stack.
    """
    with TemporaryDirectory() as unpacked:
        series = [read_series(path) for path in demo.unpack(Path(unpacked))]
    nc = [one for one in series if not one.attenuation_corrected]
    if slices is not None:
        nc = [one for one in nc if (one.plane, one.phase) == ("SA", "stress")]
    for k in range(count):
        for one in nc:
            _write(folder / f"{k:05}" / f"{one.phase}_{one.plane}.dcm", one, f"study {k}", slices)
    return count * sum(slices or len(one.counts) for one in nc)


def _write(path: Path, series: Series, key: str, slices: int | None) -> None:
    start = (len(series.counts) - slices) // 2 if slices else 0
    write_series(
        path,
        series.counts[start : start + slices] if slices else series.counts,
        plane=series.plane,
        phase=series.phase,
        corrected=False,
        pixel_mm=series.pixel_mm,
        slice_mm=series.slice_mm,
        orientation=series.orientation,
        position=series.position,
        patient_id=key,
        sex="O",
        study_key=key,
    )
