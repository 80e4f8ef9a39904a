"""Does the synthetic cohort look like published ones? Measured on normal patients, with what differs and why.

`python -m bench cohort --data DIR` reads a cohort; `--causes` also simulates a few patients with one effect changed
at a time, on the seeds (480000 and up) that served for finding the causes. The table's own seeds never did.
`--protocols N` tells instead what random protocols draw for N seeds that belong to no split, and pictures a few.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.outputs import appearing, write

RESULTS = Path(__file__).parents[2] / "results"
INFERIOR, ANTERIOR = (3, 9, 14), (0, 6, 12)
PICTURED = 8
MM = (6.8, 6.8, 6.8)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, help="cohort folder, seeds outside 480000-489999")
    what.add_argument("--protocols", type=int, metavar="N", help="draw N random protocols and patients")
    parser.add_argument("--pictures", type=Path, help="cohort folder of the pictured patients (default: --data)")
    parser.add_argument("--causes", type=int, default=0, metavar="N", help="also simulate N men and N women per cause")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    args.out.mkdir(parents=True, exist_ok=True)
    (_protocols if args.protocols else _published)(args)
    return 0


def _protocols(args: argparse.Namespace) -> None:
    from bench.evidence.cohort import draws
    from bench.evidence.cohort.patients import picture

    studies = draws.drawn(args.protocols)
    found = draws.measured(studies)
    write(args.out / "protocols.json", json.dumps(found, indent=1) + "\n")
    write(args.out / "protocols.md", draws.page(found))
    draws.plot(args.out / "protocols.png", studies)
    picture(args.out / "protocol-patients.png", range(draws.FIRST_SEED, draws.FIRST_SEED + PICTURED))
    print((args.out / "protocols.md").read_text())


def _published(args: argparse.Namespace) -> None:
    from bench.evidence.cohort.page import page
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.evaluate.figures.pictures import patients_panel
    from spectac_fast.evaluate.provenance import commit

    cohort = Cohort(args.data)
    studies = [s for i, case in enumerate(cohort.cases) if not case["defects"] for s in _studies(cohort, i)]
    if not studies:
        raise SystemExit(f"{args.data}: expected patients without defects, found none")
    table = {
        "commit": commit(),
        "seeds": [min(cohort.seeds), max(cohort.seeds)],
        "normal_patients": len(studies) // 2,
        "groups": {name: summarise([s for s in studies if s["sex"] in sex]) for name, sex in GROUPS.items()},
        "scatter_to_primary": _spread([case["scatter_to_primary"] for case in cohort.cases]),
    }
    if args.causes:
        from bench.evidence.cohort.causes import causes

        table["causes"] = causes(args.causes)
    write(args.out / "cohort.json", json.dumps(table, indent=1) + "\n")
    write(args.out / "cohort.md", page(table))
    pictured = Cohort(args.pictures or args.data)
    chosen = range(0, len(pictured), max(len(pictured) // PICTURED, 1))[:PICTURED]
    with appearing(args.out / "cohort.png") as part:
        patients_panel(part, pictured, chosen, "stress")
    print((args.out / "cohort.md").read_text())


GROUPS = {"all": "MF", "men": "M", "women": "F"}


def _studies(cohort: Any, case: int) -> list[dict[str, Any]]:
    return [
        measure(*cohort.pair(case, phase, "SA"), cohort.truth(case, phase, "SA"), cohort.cases[case])
        for phase in ("stress", "rest")
    ]


def measure(nc: np.ndarray, ac: np.ndarray, truth: np.ndarray, case: dict[str, Any]) -> dict[str, Any]:
    """Segment uptakes (% of the map's 99th percentile) and count changes of one study; stacks are SA [29, 64, 64]."""
    from spectac_fast.data.scale import count_scale
    from spectac_fast.evaluate.regional.segments import polar_map, segment_means
    from spectac_fast.evaluate.regional.ventricle import Ventricle

    known = Ventricle.of_phantom(case["lv"])
    maps = {name: polar_map(stack, known, MM) for name, stack in (("NC", nc), ("AC", ac))}
    percent = {name: 100 * polar / np.percentile(polar, 99) for name, polar in maps.items()}
    change = percent["AC"] - percent["NC"]
    return {
        "sex": case["sex"],
        "segments": {name: segment_means(stack, known) for name, stack in (("NC", nc), ("AC", ac), ("truth", truth))},
        "positive_change": float(np.maximum(change, 0).mean()),
        "absolute_change": float(np.abs(change).mean()),
        "gain": count_scale(ac, MM) / count_scale(nc, MM),
        "background": _background(nc, known),
    }


def _background(nc: np.ndarray, ventricle: Any) -> float:
    """Mean NC count 18-40 mm above the outer wall in the middle short-axis slices, over the ventricle's 99th
    percentile.
    """
    from spectac_fast.evaluate.regional.segments import polar_map

    outer = ventricle.radius_mm + ventricle.wall_mm / 2
    _, up, lateral = ventricle.centre_mm
    rows = slice(round(31.5 - (up + outer + 40) / 6.8), round(31.5 - (up + outer + 18) / 6.8))
    columns = slice(round(31.5 + (lateral - 20) / 6.8), round(31.5 + (lateral + 20) / 6.8))
    return float(nc[13:16, rows, columns].mean() / np.percentile(polar_map(nc, ventricle, MM), 99))


def summarise(studies: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means, standard deviations and quantiles of the measures over studies."""
    out: dict[str, Any] = {"studies": len(studies)}
    for kind in ("NC", "AC", "truth"):
        segments = np.array([s["segments"][kind] for s in studies])
        inferior, anterior = segments[:, INFERIOR].mean(1), segments[:, ANTERIOR].mean(1)
        out[kind] = {
            "range": _spread(segments.max(1) - segments.min(1)),
            "inferior": _spread(inferior),
            "anterior": _spread(anterior),
            "inferior_to_anterior": _spread(inferior / anterior),
            "mean_segments": segments.mean(0).round(1).tolist(),
        }
    relative = np.array([s["segments"]["NC"] / s["segments"]["AC"] for s in studies])
    relative /= relative.max(1, keepdims=True)
    out["anterior_attenuated"] = float((relative[:, ANTERIOR].min(1) < 0.85).mean())
    out["inferior_attenuated"] = float((relative[:, INFERIOR].min(1) < 0.85).mean())
    for name in ("positive_change", "absolute_change", "gain", "background"):
        out[name] = _quantiles([s[name] for s in studies])
    return out


def _spread(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    return {"mean": round(float(np.mean(values)), 3), "sd": round(float(np.std(values, ddof=1)), 3)}


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    return {str(q): round(float(np.percentile(values, q)), 3) for q in (10, 25, 50, 75, 90)}
