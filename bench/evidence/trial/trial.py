"""An in-silico trial: defects found in corrected images against CT-corrected ones, protocol by protocol.

After ISIT-GEN (Jha et al., in-silico imaging trials for generalisability): the same patients are imaged under each
protocol, and two readers look for known perfusion defects in NC, corrected and AC images: the total perfusion deficit
against normal limits, and a channelised Hotelling observer. Non-inferior means that the area under the ROC is with
97.5 % confidence (bootstrap over patients) less than the margin below that of AC.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parents[2] / "results" / "trial"
FIRST_SEED, PATIENTS = 612_000, 24
PROTOCOLS = ("hanoi", "fbp", "arc360", "czt", "western", "counts-half", "views30", "legp")
MARGIN = 0.05
SEED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where patients and measures are kept")
    parser.add_argument(
        "--normals", type=Path, required=True, metavar="DIR", help="cohort of other patients, for normal limits"
    )
    parser.add_argument("-m", "--model", default="bbdm", help="model name or file (default: bbdm)")
    parser.add_argument("--protocols", default=",".join(PROTOCOLS), metavar="P,...", help="default: eight")
    parser.add_argument(
        "--unseen", default=",".join(PROTOCOLS[1:]), metavar="P,...", help="not trained on (default: all but the first)"
    )
    parser.add_argument("--patients", type=int, default=PATIENTS, metavar="N", help=f"default: {PATIENTS}")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, metavar="SEED", help=f"default: {FIRST_SEED}")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that make patients (default: 1)")
    parser.add_argument("-d", "--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from bench.evidence.protocols.patients import made
    from bench.evidence.trial.measures import measured
    from bench.evidence.trial.page import page
    from bench.outputs import appearing
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.evaluate.provenance import commit, machine
    from spectac_fast.models.registry import load
    from spectac_fast.outputs import output_folder

    made_by, out, translator = commit(), output_folder(args.out), load(args.model, args.device)
    names = [name.strip() for name in args.protocols.split(",") if name.strip()]
    unseen = [name.strip() for name in args.unseen.split(",") if name.strip()]
    kept = args.work / translator.weights_sha256[:16]
    normal = Cohort(args.normals)
    group = measured(normal, kept / "normals", translator, "normals", lambda case: not case["defects"])
    seeds = range(args.first_seed, args.first_seed + args.patients)
    found = {name: measured(made(args.work, name, seeds, args.jobs), kept / name, translator, name) for name in names}
    # Patients are resampled in all protocols at once.
    common = set.intersection(*({case["seed"] for case, _ in patients} for patients in found.values()))
    found = {name: [each for each in patients if each[0]["seed"] in common] for name, patients in found.items()}
    table = evaluate(found, group, [name for name in unseen if name in names])
    table |= {"commit": made_by, "machine": machine(translator.device), "weights_sha256": translator.weights_sha256}
    table |= {"seeds": [seeds.start, seeds.stop - 1]}
    for name, text in (("json", json.dumps(table, indent=1) + "\n"), ("md", page(table))):
        with appearing(out / f"trial.{name}") as part:
            part.write_text(text)
    print(page(table))
    return 0


def evaluate(found: Mapping[str, Sequence[Any]], group: Sequence[Any], unseen: Sequence[str]) -> dict[str, Any]:
    """Areas under the ROC of both readers: of every protocol, of all together, of those that training never saw.

    found: by protocol, and group: [(case, measures)] of `measures.measured`.
    """
    from bench.evidence.clinical.detect import deficits, limits, truth
    from bench.evidence.trial.measures import IMAGES
    from bench.evidence.trial.observer import ratings

    normal = {
        kind: limits(np.stack([m["polar"][:, k] for _, m in group]).astype(float), [c for c, _ in group])
        for k, kind in enumerate(IMAGES)
    }
    readers: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    ill = {}
    for name, patients in found.items():
        cases = [case for case, _ in patients]
        polar = np.stack([m["polar"] for _, m in patients]).astype(float)
        outputs = np.stack([m["seen"] for _, m in patients]).astype(float)
        ill[name] = truth(cases)
        readers[name] = {
            "deficit": {kind: deficits(polar[:, :, k], cases, normal[kind]) for k, kind in enumerate(IMAGES)},
            "observer": {kind: ratings(outputs[:, :, k], ill[name]) for k, kind in enumerate(IMAGES)},
        }
    rows = {name: _areas([readers[name]], [ill[name]]) for name in found}
    groups = {"all protocols": list(found), "never trained on": list(unseen)}
    for label, names in groups.items():
        if names:
            rows[label] = _areas([readers[name] for name in names], [ill[name] for name in names])
    return {
        "margin": MARGIN,
        "normals": {sex: normal["AC"].patients[sex] for sex in "FM"},
        "with": {name: int((of == 1).sum()) for name, of in ill.items()},
        "without": {name: int((of == 0).sum()) for name, of in ill.items()},
        "unseen": list(unseen),
        "rows": rows,
    }


def _areas(
    readers: Sequence[Mapping[str, Mapping[str, np.ndarray]]], ill: Sequence[np.ndarray]
) -> dict[str, dict[str, Any]]:
    """{reader: {kind: [area, low, high]; "corrected - AC": the same}} with patients resampled in all protocols at once.

    Areas are means over protocols: an image is rated against others of its own protocol.
    """
    from bench.evidence.clinical.detect import area
    from spectac_fast.evaluate import bootstrap

    count = len(ill[0])
    draws = [np.arange(count), *bootstrap.resample(count, SEED)]

    def mean_area(reader: str, kind: str, draw: np.ndarray) -> float:
        pairs = zip(readers, ill)
        return float(np.nanmean([area(of[reader][kind][draw].ravel(), sick[draw].ravel()) for of, sick in pairs]))

    found: dict[str, dict[str, Any]] = {}
    for reader, of in readers[0].items():
        columns = {kind: np.array([mean_area(reader, kind, draw) for draw in draws]) for kind in of}
        columns |= {f"{kind} - AC": columns[kind] - columns["AC"] for kind in ("NC", "corrected")}
        found[reader] = {
            name: [float(values[0]), *map(float, np.nanquantile(values[1:], (0.025, 0.975)))]
            for name, values in columns.items()
        }
    return found
