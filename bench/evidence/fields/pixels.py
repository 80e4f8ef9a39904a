"""What other pixel sizes cost: fine studies resampled to each, against the same studies at the model's own size."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.evidence.fields.fields import RESULTS
from spectac_fast.data.geometry.resample import linear_weights
from spectac_fast.data.scale import heart_mask

if TYPE_CHECKING:
    from spectac_fast.formats.series import Series
    from spectac_fast.models.translator import Translator

PIXELS_MM = (2.0, 2.4, 3.3, 4.8, 6.8, 8.0, 9.6, 10.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="DICOM cohort of protocol matrix128")
    parser.add_argument("-m", "--model", default="bbdm", help="model name or file (default: bbdm)")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results, those of fields too")


def run(args: argparse.Namespace) -> int:
    from bench.evidence.fields.page import write_page
    from bench.outputs import appearing
    from spectac_fast.evaluate.provenance import commit
    from spectac_fast.models.registry import load

    facts = {"commit": commit(), "rows": pixel_rows(load(args.model, "cpu"), args.data)}
    args.out.mkdir(parents=True, exist_ok=True)
    with appearing(args.out / "pixels.json") as part:
        part.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    write_page(args.out)
    return 0


def pixel_rows(model: Translator, folder: Path) -> list[dict[str, Any]]:
    """A row for every pixel size: mean and worst of the patients' deviations (`deviation`), stress and rest in turn."""
    from spectac_fast.correct.study import correct_study
    from spectac_fast.data.study import Study
    from spectac_fast.formats.dicom import read_series
    from spectac_fast.progress import Progress
    from spectac_fast.terms import PLANES

    cases = sorted(folder.glob("case-*"))
    found: dict[float, list[float]] = {mm: [] for mm in PIXELS_MM}
    with Progress(len(cases) * len(PIXELS_MM), "pixels", "studies") as progress:
        for number, case in enumerate(cases):
            phase = ("stress", "rest")[number % 2]
            fine = [read_series(case / f"{phase}_{plane}_NC.dcm") for plane in PLANES]
            whole = [resampled(one, model.pixel_mm) for one in fine]
            wanted = correct_study(Study(tuple(whole)), model)
            for mm in PIXELS_MM:
                planes = [resampled(one, mm) for one in fine]
                got = correct_study(Study(tuple(planes)), model)
                off = [deviation(*each) for each in zip(planes, got, whole, wanted)]
                found[mm].append(math.sqrt(fmean(value**2 for value in off)))
                progress.step()
    return [{"pixel_mm": mm, "mean": fmean(off), "worst": max(off), "patients": off} for mm, off in found.items()]


def resampled(series: Series, mm: float) -> Series:
    """A series in cubic voxels of another size, about the same middle."""
    sizes = tuple(math.ceil(n * old / mm - 1e-3) for n, old in zip(series.counts.shape, series.spacing_mm))
    middle = np.array(series.position) + (np.array(series.counts.shape) - 1) / 2 @ _steps(series)
    found = replace(
        series,
        counts=_onto(series.counts, series.spacing_mm, sizes, mm),
        pixel_mm=(mm, mm),
        slice_mm=math.copysign(mm, series.slice_mm),
    )
    position = middle - (np.array(sizes) - 1) / 2 @ _steps(found)
    return replace(found, position=tuple(map(float, position)))


def deviation(part: Series, got: NDArray[np.float32], whole: Series, wanted: NDArray[np.float32]) -> float:
    """Root mean square of what is corrected at other pixels over voxels of the heart above 20 % of the maximum.

    What was corrected, AC / NC, is brought to the pixels of the whole study and multiplied by its NC: pixels that are
    larger blur the heart, whatever is made of it, and that is no error of the correction.
    """
    shape, mm = wanted.shape, whole.pixel_mm[0]
    ac, nc = (_onto(values, part.spacing_mm, shape, mm) for values in (got, part.counts))
    heart = heart_mask(shape, (mm, mm, mm))
    counted = heart & (wanted > 0.2 * wanted[heart].max())
    off = whole.counts[counted] * ac[counted] / nc[counted] - wanted[counted]
    return float(np.sqrt(np.mean(off**2) / np.mean(wanted[counted] ** 2)))


def _steps(series: Series) -> NDArray[np.float64]:
    return np.array(series.spacing_mm)[:, None] * series.directions


def _onto(
    values: NDArray[np.float32], spacing_mm: tuple[float, float, float], shape: tuple[int, ...], mm: float
) -> NDArray[np.float32]:
    """[slices, rows, columns] on cubic voxels of `mm` about the same middle."""
    slices, rows, columns = (linear_weights(n, old, m, mm) for n, old, m in zip(values.shape, spacing_mm, shape))
    return np.tensordot(slices, rows @ values @ columns.T, axes=1).astype(np.float32)
