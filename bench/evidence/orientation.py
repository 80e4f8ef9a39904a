"""Whether a stack that is stored mirrored, upside down or in reverse is told from its image, and how often falsely."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.outputs import write

if TYPE_CHECKING:
    from spectac_fast.cohort.cohort import Cohort

RESULTS = Path(__file__).parents[1] / "results" / "orientation"
# What is done to a stack besides: the field that is left, mm, and how far off the middle the heart may lie, mm.
FIELDS_MM, OFF_CENTRE_MM = (435.0, 218.0, 150.0), 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--train", type=Path, required=True, help="training cohort, which the mean image is taken from")
    parser.add_argument("--data", type=Path, required=True, nargs="+", help="validation cohorts, to judge on")
    parser.add_argument("--store", action="store_true", help="keep the mean image, to be used")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.data.geometry import heart
    from spectac_fast.evaluate.provenance import commit

    made_by = commit()
    if args.store:
        content = json.dumps(_mean(Cohort(args.train))) + "\n"
        write(Path(heart.__file__).with_name("heart.json"), content)
    judged = [Cohort(folder) for folder in args.data]
    rows = _rows([found for cohort in judged for found in _judge(cohort)])
    seeds = sorted(seed for cohort in judged for seed in cohort.seeds)
    facts = {"judged_on": f"{len(seeds)} patients of seeds {seeds[0]}-{seeds[-1]}, stress and rest", "commit": made_by}
    facts["margin"] = f"more alike by {heart.MARGIN} in correlation, of at least {heart.LEAST}"
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "orientation.json", json.dumps({**facts, "rows": rows}, indent=1) + "\n")
    write(args.out / "orientation.md", _page(facts, rows))
    print((args.out / "orientation.md").read_text())
    return 0


def _mean(cohort: Cohort) -> dict[str, object]:
    """The mean short-axis NC image of a cohort over its count scale, on the grid of `geometry.heart`."""
    from spectac_fast.data.geometry.heart import SHAPE, VOXEL_MM
    from spectac_fast.data.geometry.resample import linear_weights
    from spectac_fast.terms import PHASES

    images = []
    for i, phase in itertools.product(range(len(cohort)), PHASES):
        stack = cohort.pair(i, phase, "SA")[0] / cohort.scale(i, phase)
        slices, rows, columns = (
            linear_weights(n, mm, m, VOXEL_MM) for n, mm, m in zip(stack.shape, cohort.spacing_mm, SHAPE)
        )
        images.append(np.tensordot(slices, rows @ (stack @ columns.T), axes=1))
    about = f"{len(cohort)} synthetic patients of seeds {min(cohort.seeds)}-{max(cohort.seeds)}, stress and rest"
    return {"about": about, "mean": np.mean(images, axis=0).round(4).tolist()}


def _judge(cohort: Cohort) -> Iterator[tuple[str, float, NDArray[np.float64]]]:
    """(plane, field, likeness) of every series, off its middle by a random shift and cut to each field."""
    from spectac_fast.data.geometry.heart import likeness
    from spectac_fast.terms import PHASES, PLANES

    for i, phase, plane in itertools.product(range(len(cohort)), PHASES, PLANES):
        rng = np.random.default_rng((cohort.seeds[i], PHASES.index(phase), PLANES.index(plane)))
        most = round(OFF_CENTRE_MM / cohort.pixel_mm)
        stack = np.roll(cohort.pair(i, phase, plane)[0], rng.integers(-most, most + 1, 3), (0, 1, 2))
        for field in FIELDS_MM:
            rim = [round(max(0.0, n - field / cohort.pixel_mm) / 2) for n in stack.shape[1:]]
            cut = stack[:, rim[0] : stack.shape[1] - rim[0], rim[1] : stack.shape[2] - rim[1]]
            yield plane, field, likeness(cut, plane, cohort.spacing_mm)


def _rows(found: list[tuple[str, float, NDArray[np.float64]]]) -> list[dict[str, object]]:
    """What is said of the series of each plane and field when they are turned over in every way."""
    from spectac_fast.data.geometry.heart import turned_over

    rows = []
    for plane, field in dict.fromkeys((plane, field) for plane, field, _ in found):
        own = [alike for of, mm, alike in found if (of, mm) == (plane, field)]
        wrong = list(itertools.product((0, 1), repeat=3))[1:]
        # Turning a stack over only changes which of the eight ways is the one it has.
        said = [(flips, turned_over(np.flip(alike, np.flatnonzero(flips)))) for flips in wrong for alike in own]
        rows.append(
            {
                "plane": plane,
                "field, mm": field,
                "series": len(own),
                "false alarms": sum(turned_over(alike) is not None for alike in own),
                "turned over": len(said),
                "said": sum(one is not None for _, one in said),
                "said rightly": sum(one == flips for flips, one in said),
                "least margin": round(min(float(alike[0, 0, 0] - alike.ravel()[1:].max()) for alike in own), 3),
            }
        )
    return rows


def _page(facts: dict[str, str], rows: list[dict[str, object]]) -> str:
    columns = list(rows[0])
    lines = [
        "# Is a stack that lies the wrong way told from its image?",
        "",
        "Made by `python -m bench orientation --train TRAIN --data VALIDATION`. Correlation with the mean NC image of",
        "synthetic patients, over shifts, of a stack as it is and turned over along slices, rows, columns or several",
        f"of them; hearts lie off the middle by up to {OFF_CENTRE_MM:g} mm along each axis. Only a stack that looks",
        "clearly more like that image turned over is said to lie the wrong way. `least margin`: of the right way over",
        "the next best, in correlation; below 0 one is mistaken for the other.",
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
        "",
        "| " + " | ".join(columns) + " |",
        "|" + " --- |" * len(columns),
        *("| " + " | ".join(str(row[name]) for name in columns) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"
