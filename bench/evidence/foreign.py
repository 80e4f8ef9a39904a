"""Whether foreign input is told from the training population, by its own statistics and by the spread of samples of it:
false alarms, and what is detected, by plane and kind.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.outputs import appearing, write

if TYPE_CHECKING:
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.cohort.joined import JoinedCohort
    from spectac_fast.cohort.population import Population
    from spectac_fast.data.spread import SpreadPopulation
    from spectac_fast.models.translator import SamplingTranslator

RESULTS = Path(__file__).parents[1] / "results" / "foreign"
# Share of the training series beyond the limit, of either score.
SHARE = 0.005
PLAIN = "as they are (false alarms)"
Stack = tuple[NDArray[np.float32], tuple[float, float, float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--train", type=Path, nargs="+", required=True, help="training cohorts, which the population is taken from"
    )
    parser.add_argument("--data", type=Path, required=True, help="validation cohort, to judge on")
    parser.add_argument("-m", "--model", default="bbdm", help="whose weights --store writes beside (default: bbdm)")
    parser.add_argument("--stride", type=int, default=2, help="take every so-manyth training patient (default: 2)")
    parser.add_argument("--spread-stride", type=int, default=10, help="the same for samples (default: 10)")
    parser.add_argument(
        "--spread-patients", type=int, default=6, help="of the validation cohort, drawn for each kind (default: 6)"
    )
    parser.add_argument("-d", "--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--store", action="store_true", help="write the population beside the weights, to be used")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from bench.evidence.foreign_page import page
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.cohort.joined import JoinedCohort
    from spectac_fast.cohort.population import Population, plane_population, population_file, to_json
    from spectac_fast.evaluate.provenance import commit
    from spectac_fast.models.names import find
    from spectac_fast.models.registry import load
    from spectac_fast.models.translator import SamplingTranslator
    from spectac_fast.terms import PLANES
    from spectac_fast.train.export import write_json

    made_by = commit()
    train, judged = JoinedCohort([Cohort(folder) for folder in args.train]), Cohort(args.data)
    model = load(args.model, args.device)
    taken = range(0, len(train.cases), args.stride)
    about = _about(train, taken)
    planes = {plane: plane_population(list(_stacks(train, taken, plane).values()), SHARE) for plane in PLANES}
    sampling = model if isinstance(model, SamplingTranslator) else None
    spread = _spread(sampling, train, range(0, len(train.cases), args.spread_stride)) if sampling else None
    population = Population(planes, about, spread)
    if args.store:
        with appearing(population_file(find(args.model))) as part:
            write_json(part, to_json(population))
    rows = _rows(population, judged, sampling, args.spread_patients)
    args.out.mkdir(parents=True, exist_ok=True)
    facts = {"population": about, "judged_on": f"seeds {min(judged.seeds)}-{max(judged.seeds)}", "commit": made_by}
    if spread:
        facts["spread"] = f"{spread.about}; {spread.samples} samples of 3 slices 20 mm apart of each series"
        facts["weights_sha256"] = model.weights_sha256
    write(args.out / "foreign.json", json.dumps({**facts, "rows": rows}, indent=1) + "\n")
    write(args.out / "foreign.md", page(facts, rows, SHARE))
    print((args.out / "foreign.md").read_text())
    return 0


def _about(cohort: JoinedCohort, cases: range) -> str:
    from spectac_fast.train.export import seed_ranges

    among = ", ".join(f"{first}-{last}" for first, last in seed_ranges([case["seed"] for case in cohort.cases]))
    return f"{len(cases)} synthetic patients of seeds {among}, stress and rest"


def _spread(model: SamplingTranslator, cohort: JoinedCohort, cases: range) -> SpreadPopulation:
    """The spread of the model's samples over some patients of a cohort."""
    from bench.evidence.foreign_spread import SAMPLES, spread_of
    from spectac_fast.cohort.paired import facts_of_case
    from spectac_fast.data.spread import spread_population
    from spectac_fast.progress import Progress
    from spectac_fast.terms import PLANES

    spreads: dict[str, list[float]] = {}
    with Progress(2 * len(PLANES) * len(cases), "samples of the population", "series") as progress:
        for plane in PLANES:
            spreads[plane] = []
            for key, given in _stacks(cohort, cases, plane).items():
                told = facts_of_case(cohort.cases[key[0]])
                spreads[plane].append(spread_of(model, *given, f"{plane}/{key}", told))
                progress.step()
    return spread_population(spreads, SHARE, samples=SAMPLES, weights=model.weights_sha256, about=_about(cohort, cases))


def _rows(
    population: Population, cohort: Cohort, model: SamplingTranslator | None, patients: int
) -> list[dict[str, object]]:
    """The rows of every kind of input; samples are drawn of all patients at stress as they are, else of some."""
    from spectac_fast.progress import Progress
    from spectac_fast.terms import PHASES

    every = [(i, PHASES[0]) for i in range(len(cohort))]
    some = every[:: max(1, len(every) // max(1, patients))][:patients]
    rows = []
    with Progress(len(CHANGES), "judging", "kinds of input") as progress:
        for kind, change in CHANGES.items():
            drawn = every if kind == PLAIN else some
            rows += _judge(population, cohort, kind, change, model, drawn)
            progress.step(note=kind)
    return rows


def _stacks(cohort: Cohort | JoinedCohort, cases: range, plane: str) -> dict[tuple[int, str], Stack]:
    """NC stacks in model units with their spacing, by (case, phase)."""
    from spectac_fast.data.scale import to_model
    from spectac_fast.terms import PHASES

    return {
        (i, phase): (to_model(cohort.pair(i, phase, plane)[0], cohort.scale(i, phase)), cohort.spacing_mm)
        for i in cases
        for phase in PHASES
    }


def _respaced(factor: tuple[float, float, float]) -> Callable[[Stack, np.random.Generator], Stack]:
    """The same voxels under a header with other sizes, as the model sees them: at its own pixel size."""

    def change(given: Stack, rng: np.random.Generator) -> Stack:
        from spectac_fast.data.geometry.resample import InPlane

        stack, (slice_mm, *pixel_mm) = given
        claimed = tuple(mm * f for mm, f in zip(pixel_mm, factor[1:]))
        grid = InPlane(stack.shape[1:], claimed, pixel_mm[0])
        return grid.to_model(stack), (slice_mm * factor[0], *grid.pixel_mm)

    return change


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
    PLAIN: lambda given, rng: given,
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
    population: Population,
    cohort: Cohort,
    kind: str,
    change: Callable[[Stack, np.random.Generator], Stack],
    model: SamplingTranslator | None = None,
    drawn: Sequence[tuple[int, str]] = (),
) -> list[dict[str, object]]:
    """Each plane's share above the limit, and the area under the ROC curve against the series as they are.

    drawn: (case, phase) of the series that a model's samples are drawn of as well.
    """
    from scipy.stats import mannwhitneyu

    rng, rows = np.random.default_rng(0), []
    for plane in population.planes:
        stacks = _stacks(cohort, range(len(cohort)), plane)
        plain = [population.score(plane, *given)[0] for given in stacks.values()]
        changed = {key: change(given, rng) for key, given in stacks.items()}
        found = {key: population.score(plane, *given) for key, given in changed.items()}
        scores, strange = [one[0] for one in found.values()], [one[2] for one in found.values()]
        area = mannwhitneyu(scores, plain).statistic / (len(scores) * len(plain))
        beyond = {key: score > limit for key, (score, limit, _) in found.items()}
        row = {
            "input": kind,
            "plane": plane,
            "series": len(found),
            "median_score": round(float(np.median(scores)), 3),
            "flagged": round(float(np.mean(list(beyond.values()))), 4),
            "auc": round(float(area), 4),
            "most_often_named": max(set(strange), key=strange.count),
        }
        if model is not None and population.spread is not None:
            row |= _by_spread(population.spread, model, plane, {key: changed[key] for key in drawn}, beyond)
        rows.append(row)
    return rows


def _by_spread(
    known: SpreadPopulation,
    model: SamplingTranslator,
    plane: str,
    stacks: dict[tuple[int, str], Stack],
    beyond: dict[tuple[int, str], bool],
) -> dict[str, object]:
    """The same for the spread of samples of some series; beyond: which are flagged by their statistics."""
    from bench.evidence.foreign_spread import spread_of

    scores = {key: known.score(plane, spread_of(model, *given, f"{plane}/{key}")) for key, given in stacks.items()}
    off = {key: abs(score) > known.limit for key, score in scores.items()}
    return {
        "drawn": len(scores),
        "median_spread": round(float(np.median(list(scores.values()))), 2),
        "by_input": sum(beyond[key] for key in scores),
        "by_spread": sum(off.values()),
        "by_either": sum(off[key] or beyond[key] for key in scores),
    }
