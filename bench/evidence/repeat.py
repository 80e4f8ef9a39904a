"""What of an AC image repeats: the same patients imaged a second time, beside NC and corrected images.

`spectac phantom --acquisition 1` images the patients of a cohort again: patient, attenuation map and its registration
stay, the counts' noise does not. Differences to AC that are smaller than AC's to itself mean nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.outputs import write

if TYPE_CHECKING:
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.evaluate.table.variants import Row

RESULTS = Path(__file__).parents[1] / "results" / "repeat"
AC_AGAIN, CORRECTED, CORRECTED_AGAIN = "AC, second acquisition", "corrected", "corrected, second acquisition"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="cohort folder")
    parser.add_argument("--again", type=Path, required=True, help="the same patients by `phantom --acquisition 1`")
    parser.add_argument(
        "--normals", type=Path, nargs="+", required=True, help="cohort folders whose normals set the limits"
    )
    parser.add_argument("-m", "--model", default="bbdm", help="name or weight file (default: bbdm)")
    parser.add_argument("-d", "--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.cohort.joined import JoinedCohort
    from spectac_fast.evaluate.provenance import commit
    from spectac_fast.evaluate.regional.normals import limits_of_group
    from spectac_fast.evaluate.table.variants import COMBINED, expand
    from spectac_fast.models.registry import load

    made_by = commit()
    first, again = Cohort(args.data), Cohort(args.again)
    if first.seeds != again.seeds:
        raise SystemExit(f"{args.again}: expected the patients of {args.data}, found others")
    rows = expand([args.model], lambda name: load(name, args.device), steps=1, samples=1)
    row = next((row for row in rows if row.together == COMBINED), None)
    if row is None:
        raise SystemExit(f"{args.model}: expected a model of NC that gives one image, found none of its rows")
    limits = limits_of_group(JoinedCohort([Cohort(folder) for folder in args.normals]), "the cohort given by --normals")
    segments = {name: segments_of(cohort, row) for name, cohort in (("first", first), ("again", again))}
    table = measure(segments["first"], segments["again"], first.cases, limits.of(first.cases))
    table |= {
        "commit": made_by,
        "seeds": [min(first.seeds), max(first.seeds)],
        "limits": limits.group,
        "row": row.label,
        "weights_sha256": row.translator.weights_sha256,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "repeat.json", json.dumps(table, indent=1) + "\n")
    write(args.out / "repeat.md", page(table))
    print(page(table))
    return 0


def segments_of(cohort: Cohort, row: Row) -> dict[str, NDArray[np.float64]]:
    """{"NC", "AC", "corrected": [case, phase, 17]}, % of maximum, of the short-axis stacks of every patient."""
    from spectac_fast.evaluate.regional.segments import segment_means
    from spectac_fast.evaluate.regional.ventricle import Ventricle
    from spectac_fast.evaluate.table.phase import Phase
    from spectac_fast.terms import PHASES

    found: dict[str, list[list[NDArray[np.float64]]]] = {"NC": [], "AC": [], CORRECTED: []}
    for i, case in enumerate(cohort.cases):
        known = Ventricle.of_phantom(case["lv"])
        phases = [Phase(cohort, i, phase, seed=0) for phase in PHASES]
        stacks = {
            "NC": [phase.nc["SA"] for phase in phases],
            "AC": [phase.ac["SA"] for phase in phases],
            CORRECTED: [phase.correct(row)[0]["SA"] for phase in phases],
        }
        for name, both in stacks.items():
            found[name].append([segment_means(stack, known, cohort.spacing_mm) for stack in both])
    return {name: np.array(values) for name, values in found.items()}


def measure(
    first: Mapping[str, NDArray[np.float64]],
    again: Mapping[str, NDArray[np.float64]],
    cases: list[dict[str, Any]],
    limit: NDArray[np.float64],
) -> dict[str, Any]:
    """Everything against the first AC; first, again: of `segments_of`; limit: normal limits [case, 1, 17]."""
    from spectac_fast.evaluate import bootstrap

    indices = bootstrap.resample(len(cases), 0, bootstrap.RESAMPLES)
    normal = np.array([not case["defects"] for case in cases])
    ac = first["AC"]
    images = {
        "NC": first["NC"],
        AC_AGAIN: again["AC"],
        CORRECTED: first[CORRECTED],
        CORRECTED_AGAIN: again[CORRECTED],
    }
    of_nc = np.abs(first["NC"] - ac).mean((1, 2))
    rows = []
    for name, segments in images.items():
        error = np.abs(segments - ac).mean((1, 2))
        low = (segments < limit)[normal]
        new = low & ~(ac < limit)[normal]
        depth = (limit - segments)[normal][new]
        rows.append({
            "image": name,
            "error": asdict(bootstrap.mean(error, indices)),
            "error_over_nc": asdict(bootstrap.ratio(error, of_nc, indices)),
            "low": int(low.sum()),
            "new_low": int(new.sum()),
            "patients_with_new_low": int(new.any((1, 2)).sum()),
            "new_low_depth": {"median": float(np.median(depth)), "most": float(depth.max())} if new.any() else None,
        })  # fmt: skip
    repeat = {name: np.abs(again[name] - first[name]).mean((1, 2)) for name in first}
    return {
        "patients": len(cases),
        "normal_patients": int(normal.sum()),
        "normal_segments": int(ac[normal].size),
        "low_of_ac": int((ac < limit)[normal].sum()),
        "rows": rows,
        "repeat": {name: asdict(bootstrap.mean(value, indices)) for name, value in repeat.items()},
    }


def page(table: Mapping[str, Any]) -> str:
    """The committed page."""
    lines = [
        "# Test and retest: what of a segment repeats",
        "",
        f"{table['patients']} synthetic patients ({table['normal_patients']} normal), seeds {table['seeds'][0]} – "
        f"{table['seeds'][1]}, stress and rest, each imaged twice: the same patient, the same attenuation map, other "
        f"counts. Corrected: {table['row']}, weights {table['weights_sha256'][:12]}; commit {table['commit']}.",
        "Everything is against AC of the first acquisition. Segment error: mean absolute difference of the 17 "
        "segments, % of maximum, with its 95 % bootstrap interval over patients.",
        f"Low: segments of normal patients below the normal limit (mean - 2 SD of {table['limits']}), of "
        f"{table['normal_segments']}; AC itself has {table['low_of_ac']}. Newly low: those where AC is not.",
        "",
        "| image | segment error | over NC's | low | newly low | in patients | below the limit by: median, most |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in table["rows"]:
        depth = row["new_low_depth"]
        lines.append(
            f"| {row['image']} | {_interval(row['error'], 2)} | {_interval(row['error_over_nc'], 3)} | {row['low']} | "
            f"{row['new_low']} | {row['patients_with_new_low']} | "
            + (f"{depth['median']:.1f}, {depth['most']:.1f} |" if depth else "– |")
        )
    repeated = "; ".join(f"{name} {_interval(value, 2)}" for name, value in table["repeat"].items())
    lines += [
        "",
        f"How far the segments of an image are from those of its own second acquisition, % of maximum: {repeated}.",
    ]
    return "\n".join(lines) + "\n"


def _interval(estimate: Mapping[str, float], digits: int) -> str:
    return f"{estimate['value']:.{digits}f} ({estimate['low']:.{digits}f} – {estimate['high']:.{digits}f})"
