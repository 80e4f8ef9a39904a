"""The judge of images: fits what tells AC from NC by the look of an image, and measures it on validation patients."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.evidence.judge import page
from bench.evidence.judge.judge_cases import METHODS, cut
from bench.outputs import appearing
from spectac_fast.cohort.cohort import Cohort
from spectac_fast.evaluate.provenance import commit
from spectac_fast.formats.evidence import image
from spectac_fast.formats.evidence.figures import NAMES, figures
from spectac_fast.terms import PHASES, PLANES

RESULTS = Path(__file__).parents[2] / "results" / "judge"
COHORT = "the cohort's own"
FIELDS_MM, PIXELS_MM, CUTOFFS = (150, 180, 218, 300, 435), (3.4, 4.8, 6.8), (0.3, 0.6)
OFF_CENTRE_MM = 8.0
PENALTY = 5.0
# Of the log odds, either way. Patients are more alike in a simulation than in the world, so what is sure lies well
# beyond the border.
OPEN_BELOW, SURE_ABOVE = 1.0, 4.0


@dataclass(frozen=True, eq=False)
class Samples:
    """Images by their figures. patients, corrected [n]; found [n, figures]; made: how each was made."""

    patients: NDArray[np.int64]
    corrected: NDArray[np.bool_]
    found: NDArray[np.float64]
    made: tuple[dict[str, Any], ...]

    def where(self, keep: NDArray[np.bool_]) -> Samples:
        made = tuple(each for each, kept in zip(self.made, keep) if kept)
        return Samples(self.patients[keep], self.corrected[keep], self.found[keep], made)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name, default in (("train", None), ("validation", None)):
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True, default=default, metavar="DIR")
    parser.epilog = "DIR: folders of `spectac phantom --format npy` and of `bench judge_cases`"
    parser.add_argument("--fit", action="store_true", help="fit anew and write the coefficients into the package")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    made_by = commit()
    target = Path(image.__file__).parent / image.COEFFICIENTS
    if args.fit:
        known, facts = fit(gathered(args.train))
        with appearing(target) as part:
            part.write_text(json.dumps(as_json(known) | facts, indent=1) + "\n")
        image.looks.cache_clear()
    known, told = image.looks(), json.loads(target.read_text())
    samples = gathered(args.validation)
    table = measure(known, samples) | {"commit": made_by, "train": told["patients"]}
    args.out.mkdir(parents=True, exist_ok=True)
    page.plot(known.odds(samples.found), samples.corrected, table, args.out / "judge.png")
    for suffix, text in (("json", json.dumps(table, indent=1) + "\n"), ("md", page.page(table))):
        with appearing(args.out / f"judge.{suffix}") as part:
            part.write_text(text, encoding="utf-8")
    print(page.page(table))
    return 0


def gathered(folders: list[Path]) -> Samples:
    """The figures of every image below `folders`; the same draws of field, pixels and filter in every run."""
    rows = [row for folder in folders for row in (_cohort if (folder / "index.json").exists() else _methods)(folder)]
    found = np.array([np.full(len(NAMES), np.nan) if row[2] is None else row[2] for row in rows])
    made = tuple(row[3] | {"heart": row[2] is not None} for row in rows)
    return Samples(np.array([r[0] for r in rows]), np.array([r[1] for r in rows], bool), found, made)


def _cohort(folder: Path) -> Iterator[tuple[int, bool, NDArray | None, dict[str, Any]]]:
    """Every stack of a cohort as it is, and once more with all but a part of its field blanked."""
    cohort = Cohort(folder)
    for case, seed in enumerate(cohort.seeds):
        rng = np.random.default_rng((seed, 14))
        for phase in PHASES:
            for plane in PLANES:
                for kind, stack in zip(("NC", "AC"), cohort.pair(case, phase, plane)):
                    for field in (435, int(rng.choice(FIELDS_MM[:-1]))):
                        made = {"method": f"{kind}, {COHORT}", "plane": plane, "field": field, "pixel": 6.8}
                        yield seed, kind == "AC", figures(blanked(stack, field), plane, (6.8,) * 3), made


def blanked(stack: NDArray, field_mm: float, pixel_mm: float = 6.8) -> NDArray[np.float64]:
    """Zeros outside the central square of `field_mm` of every slice."""
    keep = [np.abs(np.arange(n) - (n - 1) / 2) * pixel_mm <= field_mm / 2 for n in stack.shape[1:]]
    return stack * keep[0][:, None] * keep[1]


def _methods(folder: Path) -> Iterator[tuple[int, bool, NDArray | None, dict[str, Any]]]:
    """Every reconstruction of `judge_cases`, cut with a field, pixels and a filter drawn at random."""
    for path in sorted(folder.glob("case-*.npz")):
        seed = int(path.stem.partition("-")[2])
        rng = np.random.default_rng((seed, 14))
        with np.load(path) as case:
            volumes, axes = case["volumes"].astype(np.float32), case["axes"]
        for method, corrections in zip(METHODS, METHODS.values()):
            for phase in range(len(PHASES)):
                for plane in PLANES:
                    field, pixel = int(rng.choice(FIELDS_MM)), float(rng.choice(PIXELS_MM))
                    cutoff = float(rng.uniform(*CUTOFFS))
                    # Hearts are less well centred where nobody reorients by hand.
                    moved = axes + np.array([[0], [0], [0], [1]]) * rng.normal(0, OFF_CENTRE_MM, 3)
                    stack = cut(volumes[list(METHODS).index(method), phase], moved, plane, pixel, field, cutoff)
                    made = {"method": method, "plane": plane, "field": field, "pixel": pixel, "cutoff": cutoff}
                    yield seed, corrections[0], figures(stack, plane, (pixel,) * 3), made


def fit(samples: Samples) -> tuple[image.Looks, dict[str, Any]]:
    """The regression, and facts on it."""
    samples = samples.where(np.isfinite(samples.found).any(axis=1))
    known = _regression(samples)
    # What is further off than all but a hundredth is unlike what was fitted: another camera, no heart, a wrong place.
    limit = float(np.quantile(known.distance(samples.found), 0.99))
    facts = {"figures": list(NAMES), "patients": len(set(samples.patients)), "images": len(samples.found)}
    open_between, sure_beyond = (-OPEN_BELOW, OPEN_BELOW), (-SURE_ABOVE, SURE_ABOVE)
    return replace(known, open_between=open_between, sure_beyond=sure_beyond, limit=limit), facts


def _regression(samples: Samples) -> image.Looks:
    """Ridge-penalised logistic regression by Newton's method; both kinds weigh the same."""
    y = samples.corrected.astype(float)
    means, scales = np.nanmean(samples.found, axis=0), np.nanstd(samples.found, axis=0)
    x = np.nan_to_num((samples.found - means) / scales)
    design = np.column_stack([x, np.ones(len(x))])
    weight = np.where(samples.corrected, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    ridge = PENALTY * np.diag([*np.ones(x.shape[1]), 0.0])
    beta = np.zeros(design.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ beta))
        gradient = design.T @ (weight * (p - y)) + ridge @ beta
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + ridge
        step = np.linalg.solve(curvature, gradient)
        beta -= step
        if np.abs(step).max() < 1e-10:
            break
    centres = np.stack([x[~samples.corrected].mean(axis=0), x[samples.corrected].mean(axis=0)])
    precision = np.linalg.inv(np.cov((x - centres[samples.corrected.astype(int)]).T))
    return image.Looks(means, scales, beta[:-1], float(beta[-1]), centres, precision, np.inf, (0, 0), (0, 0))


def as_json(known: image.Looks) -> dict[str, Any]:
    """Coefficients as they are committed, to six digits."""

    def rounded(value: Any) -> Any:
        return np.vectorize(lambda v: float(f"{v:.6g}"))(np.asarray(value, float)).tolist()

    return {name: rounded(value) for name, value in vars(known).items()}


def measure(known: image.Looks, samples: Samples) -> dict[str, Any]:
    """Area under the ROC and what is found at 1 % false alarms: of all images, and of each kind of them."""
    seen = np.array([each["heart"] for each in samples.made])
    unlike = known.distance(samples.found) > known.limit
    methods = np.array([each["method"] for each in samples.made])
    parts = {"all images": np.ones(len(seen), bool)}
    whole = _is(samples, "field", 435) & np.isin(methods, [f"{kind}, {COHORT}" for kind in ("NC", "AC")])
    parts[f"{COHORT} protocol, whole field"] = whole
    for key, name in (("plane", "{}"), ("field", "field of {} mm"), ("pixel", "pixels of {} mm")):
        for value in sorted({each[key] for each in samples.made}):
            parts[name.format(value)] = _is(samples, key, value)
    for nc in [name for name, (attenuation, *_) in METHODS.items() if not attenuation]:
        for ac in [name for name, (attenuation, *_) in METHODS.items() if attenuation]:
            parts[f"{nc} against {ac}"] = np.isin(methods, (nc, ac))
    return {
        "patients": len(set(samples.patients)),
        "seeds": [int(samples.patients.min()), int(samples.patients.max())],
        "images": len(seen),
        "no heart seen": int((~seen).sum()),
        "unlike all known": int(unlike.sum()),
        "rows": [{"of": name} | _roc(known, samples.where(keep)) for name, keep in parts.items() if keep.any()],
    }


def _is(samples: Samples, key: str, value: Any) -> NDArray[np.bool_]:
    return np.array([each[key] == value for each in samples.made])


def _roc(known: image.Looks, samples: Samples) -> dict[str, float]:
    odds = known.odds(samples.found)
    nc, ac = np.sort(odds[~samples.corrected]), odds[samples.corrected]
    below = np.searchsorted(nc, ac, "left") / 2 + np.searchsorted(nc, ac, "right") / 2
    kinds = [np.where(v < known.open_between[0], "NC", np.where(v > known.open_between[1], "AC", "")) for v in (nc, ac)]
    return {
        "images": len(odds),
        "auc": float(below.mean() / len(nc)),
        "found_at_1_percent": float((ac > np.quantile(nc, 0.99)).mean()),
        "nc_called_ac": float((kinds[0] == "AC").mean()),
        "ac_called_nc": float((kinds[1] == "NC").mean()),
        "nc_open": float((kinds[0] == "").mean()),
        "ac_open": float((kinds[1] == "").mean()),
        "nc_surely_ac": float((nc > known.sure_beyond[1]).mean()),
        "ac_surely_ac": float((ac > known.sure_beyond[1]).mean()),
    }
