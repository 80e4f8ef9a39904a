"""One patient for `python -m bench clinical`: images corrected as `spectac correct` does, polar maps, kept on disk."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from bench.outputs import appearing
from spectac_fast.cohort.cohort import Cohort
from spectac_fast.cohort.paired import facts_of_case
from spectac_fast.correct import correct_study
from spectac_fast.data.facts import NOTHING_KNOWN, StudyFacts
from spectac_fast.data.study import Study
from spectac_fast.evaluate.regional.segments import means, percent_of_maximum, polar_map
from spectac_fast.evaluate.regional.ventricle import Ventricle, find
from spectac_fast.formats.dicom.elements import stable_uid
from spectac_fast.formats.series import Series
from spectac_fast.reconstruct.grid import Axes
from spectac_fast.reconstruct.planes import cuts
from spectac_fast.terms import PHASES, PLANES

KINDS = ("NC", "corrected", "AC", "truth")
# Of what the search finds, along, up, lateral (mm): centre; then radius, length, apex, base limit.
GEOMETRY = ("centre along", "centre up", "centre lateral", "radius", "length", "apex", "base limit")


def nc_study(stacks: Mapping[tuple[str, str], np.ndarray], spacing_mm: tuple[float, float, float]) -> Study:
    """NC stacks {(phase, plane): counts} of one patient as a study; the planes lie about one centre, as a phantom's."""
    long, up = np.array([0.6, -0.64, -0.48]), np.array([0.0, 0.0, 1.0])
    up = up - (up @ long) * long
    up /= np.linalg.norm(up)
    found = cuts(Axes(long, up, np.cross(up, long), np.zeros(3)))
    series = []
    for (phase, plane), counts in stacks.items():
        cut = found[plane]
        header = Dataset()
        # A patient gets up between stress and rest.
        header.FrameOfReferenceUID = stable_uid("bench frame", phase)
        header.SeriesInstanceUID = stable_uid("bench series", phase, plane)
        half = [(n - 1) / 2 * mm for n, mm in zip(counts.shape, spacing_mm)]
        first = -sum(h * axis for h, axis in zip(half, (cut.frames, cut.down, cut.right)))
        series.append(
            Series(
                counts=counts,
                plane=plane,
                phase=phase,
                pixel_mm=spacing_mm[1:],
                slice_mm=spacing_mm[0],
                orientation=(*cut.right, *cut.down),
                position=tuple(first),
                attenuation_corrected=False,
                path=Path(f"{phase}_{plane}"),
                header=header,
            )
        )
    return Study(tuple(series))


def corrected_sa(
    stacks: Mapping[tuple[str, str], np.ndarray],
    spacing_mm: tuple[float, float, float],
    translator: Any,
    facts: StudyFacts = NOTHING_KNOWN,
) -> dict[str, np.ndarray]:
    """The corrected short-axis stack of every phase. facts: what a header would say."""
    study = nc_study(stacks, spacing_mm)
    counts = correct_study(study, translator, facts=facts)
    return {s.phase: c for s, c in zip(study.series, counts) if s.plane == "SA"}


def measure(cohort: Cohort, index: int, translator: Any) -> dict[str, np.ndarray]:
    """polar: % of maximum [phase, kind, 24, 72], the ventricle found once a phase, on NC; known: segments [phase,
    kind, 17] by the phantom's own geometry; geometry: what was found minus what is so, mm, [kind NC/corrected/AC,
    phase, 7]; moved: what that does to AC's segments, [kind, phase].
    """
    stacks = {(phase, plane): cohort.pair(index, phase, plane)[0] for phase in PHASES for plane in PLANES}
    corrected = corrected_sa(stacks, cohort.spacing_mm, translator, facts_of_case(cohort.cases[index]))
    known = Ventricle.of_phantom(cohort.cases[index]["lv"])
    out: dict[str, list[Any]] = {"polar": [], "known": [], "geometry": [], "moved": []}
    for phase in PHASES:
        nc, ac = cohort.pair(index, phase, "SA")
        images = dict(zip(KINDS, (nc, corrected[phase], ac, cohort.truth(index, phase, "SA"))))
        found = {kind: find(images[kind], cohort.spacing_mm) for kind in KINDS[:3]}
        maps = [percent_of_maximum(polar_map(s, found["NC"], cohort.spacing_mm)) for s in images.values()]
        by_known = [means(percent_of_maximum(polar_map(s, known, cohort.spacing_mm))) for s in images.values()]
        out["polar"].append(maps)
        out["known"].append(by_known)
        out["geometry"].append([_away(v, known) for v in found.values()])
        by_found = [means(percent_of_maximum(polar_map(ac, v, cohort.spacing_mm))) for v in found.values()]
        out["moved"].append([np.abs(s - by_known[2]).mean() for s in by_found])
    return {name: np.array(values, np.float32) for name, values in out.items()}


def _away(found: Ventricle, known: Ventricle) -> list[float]:
    centre = np.subtract(found.centre_mm, known.centre_mm)
    rest = [getattr(found, n) - getattr(known, n) for n in ("radius_mm", "length_mm", "apex_mm", "base_limit_mm")]
    return [*centre, *rest]


def kept(path: Path, make: Any) -> dict[str, np.ndarray]:
    """The arrays of `path`, made and written there first if they are not; a killed run leaves no half of it."""
    if not path.is_file():
        arrays = make()
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        path.parent.mkdir(parents=True, exist_ok=True)
        with appearing(path) as part:
            part.write_bytes(content.getvalue())
    with np.load(path) as arrays:
        return dict(arrays)
