"""Whether foreign input is told from the training population: false alarms, and what is detected, by plane and kind."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from spectac_fast.data.cohort import Cohort
    from spectac_fast.data.population import Population

RESULTS = Path(__file__).parent / "results" / "foreign"
# Share of the training series above the limit.
SHARE = 0.005
Stack = tuple[NDArray[np.float32], tuple[float, float, float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--train", type=Path, required=True, help="training cohort, which the population is taken from")
    parser.add_argument("--data", type=Path, required=True, help="validation cohort, to judge on")
    parser.add_argument("-m", "--model", default="bbdm", help="whose weights --store writes beside (default: bbdm)")
    parser.add_argument("--stride", type=int, default=2, help="take every so-manyth training patient (default: 2)")
    parser.add_argument("--store", action="store_true", help="write the population beside the weights, to be used")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from spectac_fast.data.cohort import Cohort
    from spectac_fast.data.population import Population, plane_population, population_file, to_json
    from spectac_fast.data.terms import PLANES
    from spectac_fast.evaluate.provenance import commit
    from spectac_fast.models.registry import find
    from spectac_fast.train.export import write_json

    train, judged = Cohort(args.train), Cohort(args.data)
    taken = range(0, len(train), args.stride)
    about = f"{len(taken)} synthetic patients of seeds {min(train.seeds)}-{max(train.seeds)}, stress and rest"
    planes = {plane: plane_population(list(_stacks(train, taken, plane).values()), SHARE) for plane in PLANES}
    population = Population(planes, about)
    if args.store:
        write_json(population_file(find(args.model)), to_json(population))
    rows = [row for kind, change in CHANGES.items() for row in _judge(population, judged, kind, change)]
    args.out.mkdir(parents=True, exist_ok=True)
    facts = {"population": about, "judged_on": f"seeds {min(judged.seeds)}-{max(judged.seeds)}", "commit": commit()}
    (args.out / "foreign.json").write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")
    (args.out / "foreign.md").write_text(page(facts, rows))
    print(page(facts, rows))
    return 0


def _stacks(cohort: Cohort, cases: range, plane: str) -> dict[tuple[int, str], Stack]:
    """NC stacks in model units with their spacing, by (case, phase)."""
    from spectac_fast.data.scale import to_model
    from spectac_fast.data.terms import PHASES

    return {
        (i, phase): (to_model(cohort.pair(i, phase, plane)[0], cohort.scale(i, phase)), cohort.spacing_mm)
        for i in cases
        for phase in PHASES
    }


def _respaced(factor: tuple[float, float, float]) -> Callable[[Stack, np.random.Generator], Stack]:
    """The same voxels under a header with other sizes."""
    return lambda given, rng: (given[0], tuple(mm * f for mm, f in zip(given[1], factor)))


def _flipped(axis: int) -> Callable[[Stack, np.random.Generator], Stack]:
    return lambda given, rng: (np.flip(given[0], axis).copy(), given[1])


def _noisy(share: float) -> Callable[[Stack, np.random.Generator], Stack]:
    """Noise as wide as so large a share of the local counts' root, blurred as a reconstruction's is (one voxel)."""

    def change(given: Stack, rng: np.random.Generator) -> Stack:
        from scipy.ndimage import gaussian_filter

        counts = np.maximum((given[0] + 1) / 2, 0)
        field = gaussian_filter(rng.standard_normal(counts.shape), 1.0)
        noisy = counts + share * np.sqrt(counts) * field / field.std()
        return (2 * np.maximum(noisy, 0) - 1).astype(np.float32), given[1]

    return change


def _blurred(given: Stack, rng: np.random.Generator) -> Stack:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(given[0], 1.0), given[1]


def _only_noise(given: Stack, rng: np.random.Generator) -> Stack:
    return rng.uniform(-1, 1, given[0].shape).astype(np.float32), given[1]


def _other_plane(given: Stack, rng: np.random.Generator) -> Stack:
    """The middle of the same volume cut across its rows instead of its slices."""
    stack = given[0]
    first = (stack.shape[1] - len(stack)) // 2
    return np.ascontiguousarray(stack.transpose(1, 0, 2)[first : first + len(stack)]), given[1]


CHANGES: dict[str, Callable[[Stack, np.random.Generator], Stack]] = {
    "as they are (false alarms)": lambda given, rng: given,
    "uniform noise": _only_noise,
    "cut along another axis under the plane's name": _other_plane,
    "slices in reverse order": _flipped(0),
    "upside down": _flipped(1),
    "left and right exchanged": _flipped(2),
    "pixels 0.75 x as large in the header": _respaced((1, 0.75, 0.75)),
    "pixels 1.35 x as large in the header": _respaced((1, 1.35, 1.35)),
    "slices half as thick in the header": _respaced((0.5, 1, 1)),
    "noise added, 5 % of the root of counts": _noisy(0.05),
    "noise added, 15 % of the root of counts": _noisy(0.15),
    "blurred by one voxel": _blurred,
}


def _judge(
    population: Population, cohort: Cohort, kind: str, change: Callable[[Stack, np.random.Generator], Stack]
) -> list[dict[str, object]]:
    """Each plane's share above the limit, and the area under the ROC curve against the series as they are."""
    from scipy.stats import mannwhitneyu

    rng, rows = np.random.default_rng(0), []
    for plane in population.planes:
        stacks = _stacks(cohort, range(len(cohort)), plane).values()
        plain = [population.score(plane, *given)[0] for given in stacks]
        found = [population.score(plane, *change(given, rng)) for given in stacks]
        scores, strange = [one[0] for one in found], [one[2] for one in found]
        area = mannwhitneyu(scores, plain).statistic / (len(scores) * len(plain))
        flagged = float(np.mean([score > limit for score, limit, _ in found]))
        named = max(set(strange), key=strange.count)
        rows.append(
            {
                "input": kind,
                "plane": plane,
                "series": len(found),
                "median_score": round(float(np.median(scores)), 3),
                "flagged": round(flagged, 4),
                "auc": round(float(area), 4),
                "most_often_named": named,
            }
        )
    return rows


def page(facts: dict[str, str], rows: list[dict[str, object]]) -> str:
    """The table, one line for an input and a plane."""
    columns = list(rows[0])
    lines = [
        "# Is foreign input noticed?",
        "",
        "Made by `python -m bench foreign --train TRAIN --data VALIDATION`. Scores are Mahalanobis distances of",
        f"{len(_features())} numbers read off a series; the limit of a plane is exceeded by {SHARE:.1%} of the",
        "training series. `auc`: area under the ROC curve against the series as they are (0.5: not told apart).",
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
        "",
        "| " + " | ".join(columns) + " |",
        "|" + " --- |" * len(columns),
        *("| " + " | ".join(str(row[name]) for name in columns) + " |" for row in rows),
        "",
        "Other count levels are stood for by added noise here; the simulated camera at other doses and transaxial",
        "reconstructions have not been scored yet.",
    ]
    return "\n".join(lines) + "\n"


def _features() -> list[str]:
    from spectac_fast.data.population import FEATURES

    return list(FEATURES)
