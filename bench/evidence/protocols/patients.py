"""Patients under a protocol, and what each model makes of each of them; both are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectac_fast.cohort.cohort import Cohort
from spectac_fast.terms import IDEAL, PHASES

if TYPE_CHECKING:
    from spectac_fast.evaluate.table.variants import Row

# AC as acquired, given as if it were NC: what is corrected already must not move.
CORRECTED = "ac-called-nc"
# Of these NC is right as it is, so there is no error to be a share of.
NOTHING_TO_CORRECT = ("no-attenuation", CORRECTED)


class CorrectedAlready(Cohort):
    """A cohort whose NC is its AC."""

    def _stack(self, case: int, phase: str, plane: str, kind: str) -> NDArray[np.float32]:
        return super()._stack(case, phase, plane, "AC" if kind == "NC" else kind)


def made(work: Path, protocol: str, seeds: range, jobs: int) -> Cohort:
    """The patients of some seeds under a protocol, with IDEAL; those that are in `work` already are not made again."""
    from spectac_fast.cohort.generate import Wanted, generate
    from spectac_fast.progress import Progress

    kind = Cohort
    if protocol == CORRECTED:
        kind, protocol = CorrectedAlready, "hanoi"
    folder = work / f"{protocol}-{seeds.start}-{len(seeds)}"
    with Progress(len(seeds), protocol, "patients") as progress:
        for _ in generate(folder, seeds, Wanted("npy", protocol, ideal=True), jobs):
            progress.step()
    return kind(folder)


def scored(work: Path, protocol: str, cohort: Cohort, row: Row) -> list[dict[str, Any]]:
    """What `score` finds, from `work` where the same weights were scored on the same patients before, and in how many
    series of a patient the model is warned of ("flagged").
    """
    from bench.outputs import appearing

    seeds = cohort.seeds
    how = ("-untold" if "facts" in row.options else "") + ("-ideal" if row.wanted.ideal else "")
    name = f"{protocol}-{seeds[0]}-{len(seeds)}-{row.translator.weights_sha256[:16]}{how}.json"
    path = work / "scores" / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with appearing(path) as part:
            part.write_text(json.dumps(score(cohort, row), allow_nan=False))
    patients = json.loads(path.read_text())
    return [patient | {"flagged": flagged(cohort, i, row)} for i, patient in enumerate(patients)]


def score(cohort: Cohort, row: Row) -> list[dict[str, Any]]:
    """Of every patient: its "seed", heart RMSE of NC at its best scale ("nc"), of the corrected image ("rmse") and of
    that times one count factor ("rescaled"), each to "AC" and "IDEAL", AC's own to IDEAL, and mean absolute differences
    of segments, % of maximum, by "IMAGE to REFERENCE", of which "truth" is the activity itself.
    """
    from spectac_fast.evaluate.table.score import score_cohort

    scores = score_cohort(cohort, [row])
    result, segments = scores.rows[0], scores.segments
    images = {"NC": segments["NC"], "AC": segments["AC"], "corrected": np.array(result.segments)}
    found = []
    for i, seed in enumerate(cohort.seeds):
        of_kind = {
            kind: {
                "nc": scores.floor[kind][i].heart.rmse,
                "rmse": own[i].heart.rmse,
                "rescaled": own[i].heart.rescaled_rmse,
            }
            for kind, own in (("AC", result.patients), (IDEAL, result.ideal))
        }
        of_kind[IDEAL]["ac"] = scores.ac_to_ideal[i].heart.rmse
        away = {
            f"{image} to {kind}": float(np.abs(values[i] - segments[kind][i]).mean())
            for kind in ("AC", IDEAL, "truth")
            for image, values in images.items()
            if image != kind
        }
        found.append({"seed": seed, "heart": of_kind, "segments": away})
    return found


def flagged(cohort: Cohort, case: int, row: Row) -> int:
    """How many series of a patient lie outside the population of the model's training, as `correct` would warn."""
    from spectac_fast.data.scale import to_model

    population = getattr(row.translator, "population", None)
    if population is None:
        return 0
    count = 0
    for phase in PHASES:
        scale = cohort.scale(case, phase)
        for _, plane in (key for key in cohort.series(case) if key[0] == phase):
            stack = to_model(cohort.pair(case, phase, plane)[0], scale)
            distance, limit, _ = population.score(plane, stack, cohort.spacing_of(case))
            count += distance > limit
    return count
