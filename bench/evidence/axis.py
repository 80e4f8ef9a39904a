"""How well the long axis of the left ventricle is found in NC volumes of synthetic patients."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.outputs import write

RESULTS = Path(__file__).parents[1] / "results" / "axis"
# What the axis is meant to be: half of all within, and beyond what nothing may be that is not doubted.
GOAL_DEG, GOAL_MM, FAR_DEG = 3.0, 3.0, 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cases", type=int, default=12, help="patients of each protocol (default 12)")
    parser.add_argument("--seed", type=int, default=500_300, help="of the first (default 500300)")
    parser.add_argument("--protocols", nargs="+", default=["hanoi", "random"], help="(default: hanoi random)")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from spectac_fast.evaluate.provenance import commit

    facts = {"seeds": f"{args.seed} to {args.seed + args.cases - 1}, stress and rest", "commit": commit()}
    rows, found = [], {}
    for name in args.protocols:
        found[name] = [one for seed in range(args.seed, args.seed + args.cases) for one in _measured(name, seed)]
        rows.append(_row(name, found[name]))
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "axis.json", json.dumps({**facts, "rows": rows, "found": found}, indent=1) + "\n")
    write(args.out / "axis.md", _page(facts, rows))
    print((args.out / "axis.md").read_text())
    return 0


def _measured(protocol: str, seed: int) -> Iterator[dict[str, object]]:
    """Errors of both phases of a patient."""
    import torch

    from spectac_fast.phantom import heart
    from spectac_fast.phantom.protocols import planned
    from spectac_fast.phantom.simulate import simulate
    from spectac_fast.reconstruct.long_axis import find_long_axis
    from spectac_fast.terms import PHASES

    torch.set_num_threads(1)
    patient, settings = planned(protocol, seed)
    case = simulate(patient, settings)
    true = heart.axes(patient)
    true = heart.mirror(true) if patient.findings.mirrored else true
    for phase, volume in zip(PHASES, case.volumes["NC"]):
        found = find_long_axis(volume, case.grid)
        off = found.axes.centre - true.centre
        along = float(off @ true.long)
        yield {
            "seed": seed,
            "phase": phase,
            "angle, degrees": round(float(np.degrees(np.arccos(np.clip(found.axes.long @ true.long, -1, 1)))), 2),
            "distance, mm": round(float(np.linalg.norm(off - along * true.long)), 2),
            "along, mm": round(along, 2),
            "likeness": round(found.likeness, 3),
            "doubts": list(found.doubts),
        }


def _row(name: str, found: list[dict[str, object]]) -> dict[str, object]:
    angle, distance, along = (
        np.array([one[key] for one in found], float) for key in ("angle, degrees", "distance, mm", "along, mm")
    )
    doubted = np.array([bool(one["doubts"]) for one in found])
    far = (angle > FAR_DEG) | (distance > FAR_DEG)
    return {
        "protocol": name,
        "volumes": len(found),
        "angle, degrees: median": round(float(np.median(angle)), 1),
        "90 %": round(float(np.quantile(angle, 0.9)), 1),
        "largest": round(float(angle.max()), 1),
        "distance, mm: median": round(float(np.median(distance)), 1),
        "90 % ": round(float(np.quantile(distance, 0.9)), 1),
        "along the axis, mm: median": round(float(np.median(np.abs(along))), 1),
        "doubted": int(doubted.sum()),
        f"beyond {FAR_DEG:g} degrees or mm": int(far.sum()),
        "of these not doubted": int((far & ~doubted).sum()),
    }


def _page(facts: dict[str, str], rows: list[dict[str, object]]) -> str:
    columns = list(rows[0])
    lines = [
        "# How well is the long axis found?",
        "",
        "Made by `python -m bench axis`. In NC volumes of synthetic patients, whose axis is known: the angle between",
        "the found and the true axis, the distance of the found middle from the true axis, how far apart the middles",
        f"lie along it. Goal: medians of at most {GOAL_DEG:g} degrees and {GOAL_MM:g} mm, and nothing beyond",
        f"{FAR_DEG:g} degrees that is not doubted. `hanoi` is one department; `random` draws camera, reconstruction",
        "and patient (dextrocardia and arms down among them) for every seed.",
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
        "",
        "| " + " | ".join(columns) + " |",
        "|" + " --- |" * len(columns),
        *("| " + " | ".join(str(row[name]) for name in columns) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"
