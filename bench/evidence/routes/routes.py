"""From projections to slices: NC, Chang, the image route, the physics route, and AC by a CT, against what is true.

`python -m bench routes --work DIR` simulates test patients and reconstructs the same photons by every route: no
correction, Chang's, the image route (`spectac correct` of NC slices), the physics route (`spectac reconstruct --ac
predicted`), and OSEM with a CT's map as acquired, with the exact map, and with a CT taken at another height of the
diaphragm; with --views-by and --denoise also of views that networks made. All are cut along one axis. What is measured
of a patient is kept in --work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bench.evidence.routes.patients import Variant

RESULTS = Path(__file__).parents[2] / "results" / "routes"
SEED, RESAMPLES = 0, 10_000
# Of what is kept of a patient: another number where that is something else.
MEASURES = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where measurements are kept")
    parser.add_argument("--patients", type=int, default=48, metavar="N", help="under each protocol (default: 48)")
    parser.add_argument("--seed", type=int, default=600_000, help="of the first patient (default: 600000)")
    parser.add_argument(
        "--protocols", nargs="+", default=["hanoi"], metavar="P", help="of `spectac phantom` (default: hanoi)"
    )
    parser.add_argument(
        "--breath", type=float, nargs="*", default=[10.0], metavar="MM", help="the CT is off by (default: 10)"
    )
    parser.add_argument("--model", default="bbdm", help="of the image route (default: bbdm)")
    parser.add_argument("--maps", type=Path, metavar="FILE", help="weights of the physics route (default: shipped)")
    parser.add_argument("--views-by", metavar="dudoss|FILE", help="rows with views that a network makes between")
    parser.add_argument("--denoise", metavar="cunet|FILE", help="rows with counts that a network expects")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    import torch

    from bench.evidence.routes.page import page
    from bench.evidence.routes.patients import routes
    from bench.outputs import appearing
    from spectac_fast.correct.physics.maps import PredictedMap
    from spectac_fast.evaluate.provenance import commit
    from spectac_fast.models.mumap import load_map_model
    from spectac_fast.models.registry import load
    from spectac_fast.outputs import output_folder

    torch.set_num_threads(1)
    made_by, out = commit(), output_folder(args.out)
    source, translator = PredictedMap(load_map_model(args.maps, "cpu")), load(args.model, "cpu")
    breaths, variants = tuple(args.breath), _variants(args)
    seeds = range(args.seed, args.seed + args.patients)
    found = {name: _measured(args.work, seeds, name, source, translator, breaths, variants) for name in args.protocols}
    table: dict[str, Any] = {
        "command": _command(args),
        "commit": made_by,
        "seeds": [seeds.start, seeds.stop - 1],
        "maps_sha256": source.digest,
        "model": translator.name,
        "weights_sha256": translator.weights_sha256,
        "routes": routes(breaths, variants),
        "networks": {each.words: next(iter(each.preparation.settings.values())) for each in variants},
        "protocols": {name: evaluate(seeds, name, of, breaths, variants) for name, of in found.items()},
    }
    text = page(table)
    for name, content in (("routes.json", json.dumps(table, indent=1) + "\n"), ("routes.md", text)):
        with appearing(out / name) as part:
            part.write_text(content)
    print(text)
    return 0


def _command(args: argparse.Namespace) -> str:
    """What was asked for, wherever its measurements are kept."""
    words = ("WORK" if word == str(args.work) else word for word in sys.argv[1:])
    return shlex.join(["python", "-m", "bench", *words])


def _variants(args: argparse.Namespace) -> list[Variant]:
    """What networks make of the views, as rows of their own."""
    from bench.evidence.routes.patients import Variant
    from spectac_fast.correct.physics.views import Preparation
    from spectac_fast.correct.physics.wanted import Wanted

    asked = {"views by dudoss": {"views_by": args.views_by}, "counts by cunet": {"denoise": args.denoise}}
    return [
        Variant(words, wanted, Preparation(Wanted(**wanted)))
        for words, wanted in asked.items()
        if next(iter(wanted.values()))
    ]


def _measured(
    work: Path,
    seeds: range,
    protocol: str,
    source: Any,
    translator: Any,
    breaths: tuple[float, ...],
    variants: list[Variant],
) -> list[dict[str, np.ndarray]]:
    from bench.evidence.clinical.cases import kept
    from bench.evidence.routes.patients import measure
    from spectac_fast.progress import Progress

    networks = [dict(each.preparation.settings) for each in variants]
    what = json.dumps([MEASURES, protocol, source.digest, translator.weights_sha256, breaths, networks])
    folder, out = work / hashlib.sha256(what.encode()).hexdigest()[:16], []
    with Progress(len(seeds), protocol, "patients") as progress:
        for seed in seeds:
            path = folder / f"{seed}.npz"
            out.append(kept(path, lambda s=seed: measure(s, protocol, source, translator, breaths, variants)))
            progress.step()
    return out


def evaluate(
    seeds: range,
    protocol: str,
    measured: list[dict[str, np.ndarray]],
    breaths: tuple[float, ...],
    variants: Sequence[Variant] = (),
) -> dict[str, Any]:
    """Every number of a protocol's patients, with 95 % bootstrap intervals over these."""
    from bench.evidence.routes.patients import CT, EXACT, IMAGES, PREDICTED, REFERENCES, breath, case_of, routes
    from bench.evidence.routes.readers import areas
    from spectac_fast.evaluate import bootstrap
    from spectac_fast.evaluate.regional import scores
    from spectac_fast.terms import PHASES

    indices = bootstrap.resample(len(measured), SEED, RESAMPLES)
    names = routes(breaths, variants)
    segments = np.stack([m["segments"] for m in measured], 1).astype(float)  # [image, patient, phase, 17]
    by_name = dict(zip([*names, "IDEAL", "truth"], segments, strict=True))
    cases = [case_of(seed, protocol) for seed in seeds]
    known = scores.reference(
        cases, PHASES, by_name["NC"], by_name[CT], by_name["truth"], indices, limits=None
    )  # fmt: skip
    errors = {
        name: {to: np.abs(by_name[name] - by_name[to]).mean((1, 2)) for to in REFERENCES} for name in names
    }  # fmt: skip
    rmse, fitted = (np.stack([m[key] for m in measured], 1).astype(float).mean(2) for key in ("rmse", "fitted"))
    maps = np.stack([m["map"] for m in measured]).astype(float).mean(1)  # [patient, 3]

    def estimate(values: np.ndarray) -> list[float]:
        found = bootstrap.mean(values, indices)
        return [found.value, found.low, found.high]

    rows = {}
    for k, name in enumerate(names):
        score = scores.score(by_name[name], known)
        rows[name] = {
            **{f"segments to {to}": estimate(errors[name][to]) for to in REFERENCES},
            "contrast": score.contrast and [score.contrast.value, score.contrast.low, score.contrast.high],
            "rmse": estimate(rmse[k]),
            "fitted rmse": estimate(fitted[k]),
        }
    true = scores.score(by_name["truth"], known).contrast
    return {
        "patients": len(measured),
        "defects": len(known.defects),
        "contrast of truth": true and true.value,
        "rows": rows,
        "minus": {
            f"{PREDICTED} minus {other}, to {to}": estimate(errors[PREDICTED][to] - errors[other][to])
            for other in (IMAGES, CT, EXACT, *map(breath, breaths))
            for to in ("IDEAL", "truth")
        }
        | {
            f"{row} minus {of}, to {to}": estimate(errors[row][to] - errors[of][to])
            for variant in variants
            for row, of in zip(variant.rows, ("NC", PREDICTED))
            for to in ("IDEAL", "truth")
        },
        "detection": areas(measured, cases, names, CT),
        "map": dict(zip(("body nmae", "heart nmae", "survival"), (estimate(v) for v in maps.T), strict=True)),
    }
