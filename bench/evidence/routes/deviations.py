"""Whether the deviations of `spectac reconstruct --uncertainty` say how large its errors are, and their calibration.

`python -m bench deviations --work DIR` reconstructs test patients by the predicted map, draws maps and photons as the
command does, and compares the deviations with what AC by the exact map differs by: of the same photons, which only the
map explains, and of a second acquisition, which photons explain too. Temperature and floor are fitted on validation
patients. What is measured of a patient is kept in --work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.outputs import write

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spectac_fast.evaluate.calibration import Figures
    from spectac_fast.models.mumap import MapModel
    from spectac_fast.models.mumap_bridge import MapBridge

RESULTS = Path(__file__).parents[2] / "results" / "deviations"
VALIDATION, TEST = 500_000, 600_000
# Where a temperature alone is further off than this on validation, a floor is added.
ENOUGH = 0.02
GOAL = 0.04
# Rows of the table that are of photons and map together, or of one of them.
SAME, SECOND, PHOTONS = "exact map, same photons", "exact map, second acquisition", "photons alone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where measurements are kept")
    parser.add_argument(
        "--patients", type=int, default=16, metavar="N", help="to fit on, and to judge on (default: 16)"
    )
    parser.add_argument("--protocol", default="hanoi", metavar="P", help="of `spectac phantom` (default: hanoi)")
    parser.add_argument("--samples", type=int, default=16, help="at least 2 (default: 16)")
    parser.add_argument("--maps", type=Path, metavar="FILE", help="weights that predict maps (default: shipped)")
    parser.add_argument("--bridge", type=Path, metavar="FILE", help="weights that draw maps (default: shipped)")
    parser.add_argument("--store", action="store_true", help="write the calibration beside the weights, to be used")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    import torch

    from spectac_fast.evaluate.provenance import commit
    from spectac_fast.models.mumap import load_map_model
    from spectac_fast.models.mumap_bridge import NAME, load_map_bridge
    from spectac_fast.models.names import weights_apart

    torch.set_num_threads(1)
    made_by = commit()
    model, bridge = load_map_model(args.maps, "cpu"), load_map_bridge(args.bridge, "cpu")
    found = {
        split: _measured(args, range(first, first + args.patients), model, bridge)
        for split, first in (("validation", VALIDATION), ("test", TEST))
    }
    chosen = calibrated(found["validation"])
    rows = {split: judged(of, *chosen) for split, of in found.items()}
    table = {
        "command": _command(args),
        "commit": made_by,
        "protocol": args.protocol,
        "samples": args.samples,
        "seeds": {"validation": VALIDATION, "test": TEST, "patients": args.patients},
        "maps_sha256": model.weights_sha256,
        "bridge_sha256": bridge.weights_sha256,
        "temperature": chosen[0],
        "floor": chosen[1],
        "rows": {split: {name: asdict(of) for name, of in each.items()} for split, each in rows.items()},
    }
    text = page(table)
    write(args.out / "deviations.json", json.dumps(table, indent=1) + "\n")
    write(args.out / "deviations.md", text)
    if args.store:
        _store(weights_apart(NAME, args.bridge), bridge.weights_sha256, chosen, args)
    print(text)
    return 0


def _store(weights: Path, digest: str, chosen: tuple[float, float], args: argparse.Namespace) -> None:
    from spectac_fast.models.uncertainty import FORMAT, calibration_file

    content = {
        "format": FORMAT,
        "weights_sha256": digest,
        "temperature": round(chosen[0], 4),
        "floor": round(chosen[1], 5),
        "fitted_on": f"{args.patients} synthetic patients of seeds {VALIDATION}-{VALIDATION + args.patients - 1}",
    }
    write(calibration_file(weights), json.dumps(content, indent=2) + "\n")


def _command(args: argparse.Namespace) -> str:
    """What was asked for, wherever its measurements are kept."""
    words = ("WORK" if word == str(args.work) else word for word in sys.argv[1:])
    return shlex.join(["python", "-m", "bench", *words])


def _measured(
    args: argparse.Namespace, seeds: range, model: MapModel, bridge: MapBridge
) -> list[dict[str, NDArray[np.float32]]]:
    from bench.evidence.clinical.cases import kept
    from bench.evidence.routes.drawn import measure
    from spectac_fast.progress import Progress

    what = json.dumps([args.protocol, args.samples, model.weights_sha256, bridge.weights_sha256])
    folder, out = args.work / hashlib.sha256(what.encode()).hexdigest()[:16], []
    with Progress(len(seeds), f"from seed {seeds.start}", "patients") as progress:
        for seed in seeds:
            path = folder / f"{seed}.npz"
            out.append(kept(path, lambda s=seed: measure(s, args.protocol, model, bridge, args.samples)))
            progress.step()
    return out


def calibrated(patients: Sequence[dict[str, NDArray]]) -> tuple[float, float]:
    """(temperature, floor) of the maps, from voxels of the same photons; the floor is 0 where it is not needed."""
    from spectac_fast.evaluate.calibration import Voxels, fit, judge

    voxels = [Voxels(_relative(p, "exact"), p["voxels_map"] / p["voxels_ac"]) for p in patients]
    plain = fit(voxels, with_floor=False)
    return fit(voxels, with_floor=True) if judge(voxels, *plain).worst > ENOUGH else plain


def judged(patients: Sequence[dict[str, NDArray]], temperature: float, floor: float) -> dict[str, Figures]:
    """What the deviations reach: of voxels in shares of their counts, of segments in % of the maximum.

    AC by the exact map of the same photons differs by the map's deviation; of a second acquisition by that and twice
    the photons', because both images have their own.
    """
    from spectac_fast.evaluate.calibration import Voxels, judge

    rows: dict[str, list[Voxels]] = {}
    for p in patients:
        ac = p["voxels_ac"]
        maps = {
            "voxels": np.hypot(temperature * p["voxels_map"] / ac, floor),
            "segments": temperature * p["segments_map"],
        }
        photons = {"voxels": p["voxels_photons"] / ac, "segments": p["segments_photons"]}
        for what in ("voxels", "segments"):
            both = np.sqrt(maps[what] ** 2 + 2 * photons[what] ** 2)
            unit = ac if what == "voxels" else np.ones(17)
            exact, second = (p[f"{what}_{name}"] for name in ("exact", "second"))
            for name, error, sigma in (
                (SAME, exact - p[f"{what}_ac"], maps[what]),
                (SECOND, second - p[f"{what}_ac"], both),
                (PHOTONS, second - exact, np.sqrt(2) * photons[what]),
            ):
                rows.setdefault(f"{what}: {name}", []).append(Voxels(error / unit, sigma))
    return {name: judge(of, 1.0, 0.0) for name, of in rows.items()}


def _relative(patient: dict[str, NDArray], of: str) -> NDArray:
    return (patient[f"voxels_{of}"] - patient["voxels_ac"]) / patient["voxels_ac"]


def page(table: dict[str, Any]) -> str:
    """What the deviations hold, and what not."""
    from spectac_fast.evaluate.calibration import LEVELS

    seeds, count = table["seeds"], table["seeds"]["patients"]
    worst = {
        name: max(abs(found["value"] - level) for found, level in zip(row["coverage"], LEVELS))
        for name, row in table["rows"]["test"].items()
    }
    kept = [name for name, off in worst.items() if off <= GOAL]
    missed = [f"{name} (off by {100 * off:.0f} points)" for name, off in worst.items() if off > GOAL]
    lines = [
        "# Do the deviations of AC by a predicted map hold?",
        "",
        f"Made by `{table['command']}` at commit {table['commit']}: {count} patients of seeds from "
        f"{seeds['validation']} to fit on, {count} from {seeds['test']} to judge on, protocol {table['protocol']}, "
        f"stress and rest in turn, {table['samples']} samples of maps and as many of photons. The image is AC by the "
        "map that mumap predicts; it is compared with AC by the exact map of the same photons, where only maps differ, "
        "and of a second acquisition. Voxels: within 60 mm of the ventricle's middle, above a fifth of the maximum; "
        "errors as shares of their counts. Segments: the 17, in % of the maximum.",
        "",
        f"Fitted: maps lie {table['temperature']:.3f} times as far from the predicted one as they were drawn, and "
        f"{100 * table['floor']:.2f} % of the counts are uncertain besides.",
        "",
        f"Within {100 * GOAL:.0f} points of nominal at every level, on test patients: {'; '.join(kept) or 'none'}. "
        f"Not: {'; '.join(missed) or 'none'}.",
    ]
    for split, rows in table["rows"].items():
        lines += ["", f"## {split}", ""]
        head = ["", *(f"{level:.0%} interval covers, %" for level in LEVELS), "deviation", "error", "rank correlation"]
        lines += ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
        for name, row in rows.items():
            unit = 100 if name.startswith("voxels") else 1
            cells = [
                f"{100 * of['value']:.1f} ({100 * of['low']:.1f}–{100 * of['high']:.1f})" for of in row["coverage"]
            ]
            cells += [f"{unit * row[key]['value']:.2f} %" for key in ("sharpness", "rmse")]
            lines.append(f"| {name} | {' | '.join(cells)} | {row['correlation']['value']:.2f} |")
    lines += [
        "",
        "Deviation, error: root mean squares. Rank correlation: Spearman's, between absolute error and deviation "
        "within a patient. Intervals: 95 % bootstrap over patients.",
    ]
    return "\n".join(lines) + "\n"
