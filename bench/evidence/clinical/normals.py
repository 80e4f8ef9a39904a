"""Normal polar maps of each sex, from the normal patients of a cohort: what the report's deficits are against."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from bench.outputs import appearing

NAMES = {"F": "women", "M": "men"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="cohorts of training seeds")
    parser.add_argument("--store", action="store_true", help="put them into the package")


def run(args: argparse.Namespace) -> int:
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.cohort.joined import JoinedCohort
    from spectac_fast.evaluate.regional import deficit
    from spectac_fast.evaluate.regional.segments import percent_of_maximum, polar_map
    from spectac_fast.evaluate.regional.ventricle import find
    from spectac_fast.progress import Progress
    from spectac_fast.terms import PHASES

    cohort = JoinedCohort([Cohort(folder) for folder in args.data])
    normal = [i for i, case in enumerate(cohort.cases) if not case["defects"]]
    maps: dict[str, list[list[np.ndarray]]] = {"F": [], "M": []}
    with Progress(len(normal), "normals", "patients") as progress:
        for i in normal:
            for phase in PHASES:
                nc, ac = cohort.pair(i, phase, "SA")
                # As the report finds it: on NC, once for all images of a phase.
                found = find(nc, cohort.spacing_mm)
                both = [percent_of_maximum(polar_map(stack, found, cohort.spacing_mm)) for stack in (nc, ac)]
                maps[cohort.cases[i]["sex"]].append(both)
            progress.step()
    arrays, groups = {}, {}
    seeds = [case["seed"] for case in cohort.cases]
    for sex, found in maps.items():
        stack = np.stack(found)
        count = len(found) // len(PHASES)
        groups[sex] = f"{count} synthetic {NAMES[sex]} without defects (seeds {min(seeds)}–{max(seeds)})"
        for k, kind in enumerate(("NC", "AC")):
            arrays[f"mean_{sex}_{kind}"] = stack[:, k].mean(0).astype(np.float32)
            arrays[f"sd_{sex}_{kind}"] = stack[:, k].std(0, ddof=1).astype(np.float32)
            sd = arrays[f"sd_{sex}_{kind}"]
            print(f"{groups[sex]}, {kind}: SD {sd.min():.1f} to {sd.max():.1f}, mean {sd.mean():.1f} % of maximum")
    if args.store:
        place = Path(deficit.__file__).with_name(deficit.NORMALS)
        with appearing(place) as part, part.open("wb") as file:
            np.savez_compressed(file, groups=json.dumps(groups), **arrays)
        print(place)
    return 0
