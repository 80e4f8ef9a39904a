"""What the correction does to the numbers physicians read: segments, perfusion deficit, detection of known defects.

`python -m bench clinical --data DIR... --normals DIR... --work DIR` measures patients the model has not seen (--data),
against normal limits of others (--normals), and the same model on other counts, resolutions and grids (--robust). What
is measured of a patient with certain weights is kept in --work; a second run takes it from there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parents[2] / "results" / "clinical"
SEED, RESAMPLES = 0, 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="cohorts never trained on")
    parser.add_argument("--normals", type=Path, nargs="+", required=True, metavar="DIR", help="their normal patients")
    parser.add_argument(
        "--per-sex", type=int, default=45, metavar="N", help="normal patients of each sex (default: 45)"
    )
    parser.add_argument(
        "--robust", type=int, default=5, metavar="N", help="patients under other conditions (default: 5)"
    )
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where measurements are kept")
    parser.add_argument("--model", default="bbdm")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from bench.evidence.clinical.page import page
    from bench.evidence.clinical.plot import plot
    from bench.outputs import appearing
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.models.registry import load
    from spectac_fast.outputs import output_folder

    out, translator = output_folder(args.out), load(args.model)
    kept = args.work / translator.weights_sha256[:16]
    unseen = [(cohort, i) for cohort in map(Cohort, args.data) for i in range(len(cohort))]
    normal = list(_normals([Cohort(folder) for folder in args.normals], args.per_sex))
    patients, group = _measured(unseen, kept, translator, "unseen"), _measured(normal, kept, translator, "normals")
    robust = _robust([c for c, _ in patients][: args.robust], args.work, kept, translator)
    table, curves = evaluate(patients, group)
    table |= {"robust": robust, "model": translator.name, "weights_sha256": translator.weights_sha256}
    with appearing(out / "clinical.json") as part:
        part.write_text(json.dumps(table, indent=1) + "\n")
    with appearing(out / "clinical.md") as part:
        part.write_text(page(table))
    plot(table, curves, out)
    print(page(table))
    return 0


def _normals(cohorts: Sequence[Any], per_sex: int) -> Iterator[tuple[Any, int]]:
    left = {"F": per_sex, "M": per_sex}
    for cohort in cohorts:
        for i, case in enumerate(cohort.cases):
            if not case["defects"] and left[case["sex"]]:
                left[case["sex"]] -= 1
                yield cohort, i


def _measured(
    patients: Sequence[tuple[Any, int]], kept: Path, translator: Any, label: str
) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    from bench.evidence.clinical.cases import kept as kept_in
    from bench.evidence.clinical.cases import measure
    from spectac_fast.progress import Progress

    out = []
    with Progress(len(patients), label, "patients") as progress:
        for cohort, i in patients:
            path = kept / f"{cohort.cases[i]['seed']}.npz"
            out.append((cohort.cases[i], kept_in(path, lambda c=cohort, k=i: measure(c, k, translator))))
            progress.step()
    return out


def _robust(cases: Sequence[dict[str, Any]], work: Path, kept: Path, translator: Any) -> dict[str, Any]:
    from bench.evidence.clinical.cases import kept as kept_in
    from bench.evidence.clinical.robust import CONDITIONS, errors, simulated
    from spectac_fast.progress import Progress

    found = []
    with Progress(len(cases), "other conditions", "patients") as progress:
        for case in cases:
            seed = int(case["seed"])
            path = work / "images" / f"{seed}.npz"
            name = kept / f"{seed}-robust.npz"
            found.append(
                kept_in(name, lambda p=path, s=seed: errors(kept_in(p, lambda: simulated(s))["stacks"], translator))
            )
            progress.step()
    if not found:
        return {}
    values = np.stack([f["errors"] for f in found])  # [patient, condition, phase, (NC, corrected)]
    return {
        "patients": len(found),
        "conditions": {
            name: {"NC": _interval(values[:, k, :, 0].mean(1)), "corrected": _interval(values[:, k, :, 1].mean(1))}
            for k, name in enumerate(CONDITIONS)
        },
    }


def _interval(per_patient: np.ndarray) -> list[float]:
    """[mean, low, high], 95 % bootstrap over patients."""
    from spectac_fast.evaluate import bootstrap

    found = bootstrap.mean(per_patient, bootstrap.resample(len(per_patient), SEED, RESAMPLES))
    return [found.value, found.low, found.high]


def evaluate(patients: Sequence[Any], group: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(every number, the curves of the pictures) of patients and of the group of normals."""
    from bench.evidence.clinical.cases import GEOMETRY, KINDS
    from bench.evidence.clinical.detect import NORMAL_SHARE, deficits, detection, limits, roc, truth
    from spectac_fast.evaluate import bootstrap
    from spectac_fast.evaluate.regional import scores as regional
    from spectac_fast.evaluate.regional.segments import SEGMENT_NAMES, means
    from spectac_fast.terms import PHASES

    cases, measured = [c for c, _ in patients], [m for _, m in patients]
    indices = bootstrap.resample(len(cases), SEED, RESAMPLES)
    polar = np.stack([m["polar"] for m in measured]).astype(float)  # [patient, phase, kind, 24, 72]
    segments = {kind: np.array([[means(of[k]) for of in patient] for patient in polar]) for k, kind in enumerate(KINDS)}
    known = np.stack([m["known"] for m in measured]).astype(float)
    reference = regional.reference(
        cases, PHASES, segments["NC"], segments["AC"], segments["truth"], indices, limits=None
    )
    scores = {kind: regional.score(segments[kind], reference) for kind in KINDS}
    geometry = np.stack([m["geometry"] for m in measured]).astype(float)  # [patient, phase, kind, 7]
    moved = np.stack([m["moved"] for m in measured]).astype(float)
    normal_polar = np.stack([m["polar"] for _, m in group]).astype(float)
    normal_cases, ill = [c for c, _ in group], truth(cases)
    deficit, thresholds = {}, {}
    for kind in KINDS[:3]:
        k = KINDS.index(kind)
        normal = limits(normal_polar[:, :, k], normal_cases)
        thresholds[kind] = float(np.quantile(deficits(normal_polar[:, :, k], normal_cases, normal), NORMAL_SHARE))
        deficit[kind] = deficits(polar[:, :, k], cases, normal)
    difference = {kind: segments[kind] - segments["AC"] for kind in ("NC", "corrected")}
    table = {
        "seeds": [int(c["seed"]) for c in cases],
        "normals": {sex: normal.patients[sex] for sex in "FM"},
        "segments": {
            kind: {
                "error": _estimate(scores[kind].error),
                "truth_error": _estimate(scores[kind].truth_error),
                "contrast": _estimate(scores[kind].contrast),
                "contrast_over_ac": _estimate(scores[kind].contrast_over_ac),
            }
            for kind in KINDS
        },
        "known_error": {
            kind: _interval(np.abs(known[:, :, k] - known[:, :, 2]).mean((1, 2))) for k, kind in enumerate(KINDS)
        },
        "defects": len(reference.defects),
        "by_segment": {
            name: {kind: [float(d[..., k].mean()), float(np.abs(d[..., k]).mean())] for kind, d in difference.items()}
            for k, name in enumerate(SEGMENT_NAMES)
        },
        "agreement": {kind: _agreement(d) for kind, d in difference.items()},
        "groups": _groups(cases, {kind: np.abs(d).mean((1, 2)) for kind, d in difference.items()}),
        "geometry": {
            kind: {
                n: [float(v.mean()), float(v.std()), float(np.abs(v).max())]
                for n, v in zip(GEOMETRY, np.moveaxis(of, -1, 0))
            }
            for kind, of in zip(KINDS[:3], np.moveaxis(geometry, 2, 0))
        },
        "moved": {kind: float(moved[:, :, k].mean()) for k, kind in enumerate(KINDS[:3])},
        "ill": int((ill == 1).sum()),
        "well": int((ill == 0).sum()),
        "deficit": {
            kind: {
                "threshold": thresholds[kind],
                "normal": [float(np.median(of[ill == 0])), float(np.quantile(of[ill == 0], 0.9))]
                if (ill == 0).any()
                else None,
                "ill": [float(np.median(of[ill == 1])), float(np.quantile(of[ill == 1], 0.9))]
                if (ill == 1).any()
                else None,
                "error": _interval(np.abs(of - deficit["AC"]).mean(1)),
            }
            for kind, of in deficit.items()
        },
        "detection": detection(deficit, thresholds, ill, indices),
    }
    curves = {
        "agreement": {kind: (0.5 * (segments[kind] + segments["AC"]), d) for kind, d in difference.items()},
        "roc": {kind: roc(of.ravel(), ill.ravel()) for kind, of in deficit.items()},
        "deficit": deficit,
    }
    return table, curves


def _estimate(found: Any) -> list[float] | None:
    return None if found is None else [found.value, found.low, found.high]


def _agreement(difference: np.ndarray) -> dict[str, float]:
    """Bland-Altman: bias and limits of agreement, bias +- 1.96 SD over all segments of all patients."""
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    return {"bias": bias, "sd": sd, "low": bias - 1.96 * sd, "high": bias + 1.96 * sd}


def _groups(cases: Sequence[dict[str, Any]], errors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Segment error by sex and by body-mass index (thirds)."""
    bmi = np.array([case["bmi"] for case in cases])
    low, high = np.quantile(bmi, (1 / 3, 2 / 3))
    members = {
        "women": np.array([case["sex"] == "F" for case in cases]),
        "men": np.array([case["sex"] == "M" for case in cases]),
        f"BMI below {low:.1f}": bmi < low,
        f"BMI {low:.1f} to {high:.1f}": (bmi >= low) & (bmi <= high),
        f"BMI above {high:.1f}": bmi > high,
    }
    return {
        name: {"patients": int(who.sum())} | {kind: _interval(of[who]) for kind, of in errors.items()}
        for name, who in members.items()
        if who.any()
    }
