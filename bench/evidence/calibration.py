"""Whether the model's standard deviations say how large its errors are, and the calibration that makes them do so."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.outputs import appearing, write

if TYPE_CHECKING:
    from bench.evidence.calibration_planes import Planes
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.evaluate.calibration import Figures, Voxels
    from spectac_fast.models.translator import SamplingTranslator

RESULTS = Path(__file__).parents[1] / "results" / "calibration"
# Where a temperature alone is further off than this on validation, a floor is added.
ENOUGH = 0.02


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, help="validation cohort, which the calibration is fitted on"
    )
    parser.add_argument("--test", type=Path, required=True, help="test cohort, to judge on")
    parser.add_argument("-m", "--model", default="bbdm", help="model name or file (default: bbdm)")
    parser.add_argument("--patients", type=int, default=24, help="of each cohort, evenly spaced (default: 24)")
    parser.add_argument("--samples", type=int, default=32, help="an even number, at least 4 (default: 32)")
    parser.add_argument("--stride", type=int, default=6, help="take every so-manyth slice of the heart (default: 6)")
    parser.add_argument(
        "--combined",
        type=int,
        default=8,
        help="patients of each cohort whose planes are also combined: every slice of their hearts takes half of the "
        "samples (default: 8; 0: none)",
    )
    parser.add_argument("--phase", default="stress", help="stress or rest (default: stress)")
    parser.add_argument("-d", "--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--store", action="store_true", help="write the calibration beside the weights, to be used")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from bench.evidence.calibration_page import page, picture
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.evaluate.calibration import fit, judge
    from spectac_fast.evaluate.provenance import commit, machine
    from spectac_fast.models.registry import load
    from spectac_fast.models.uncertainty import FORMAT, calibration_file, check_sampling

    model = check_sampling(load(args.model, args.device))
    drawn = {
        split: _draw(model, Cohort(folder), split, args)
        for split, folder in (("validation", args.data), ("test", args.test))
    }
    whole = {split: one.whole for split, one in drawn.items()}
    plain = fit(whole["validation"], with_floor=False)
    chosen = plain
    if judge(whole["validation"], *plain).worst > ENOUGH:
        chosen = fit(whole["validation"], with_floor=True)
    rows = _judged(drawn, plain, chosen, args.samples)
    facts = {
        "model": model.name,
        "weights_sha256": model.weights_sha256,
        "fitted_on": _name(args.data, args.patients),
        "judged_on": _name(args.test, args.patients),
        "samples": args.samples,
        "slices": f"every {args.stride}. slice of the heart region (a 60 mm sphere), SA, VLA and HLA, {args.phase}",
        "commit": commit(),
        "machine": machine(model.device),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    content = {
        **facts,
        "temperature": chosen[0],
        "floor": chosen[1],
        "rows": [
            {"split": s, "row": name, "temperature": t, "floor": f, **asdict(got)} for s, name, (t, f), got in rows
        ],
    }
    write(args.out / "calibration.json", json.dumps(content, indent=1) + "\n")
    write(args.out / "calibration.md", page(facts, rows, chosen))
    picture(args.out / "calibration.png", whole["test"], chosen)
    if args.store:
        from spectac_fast.models.names import find
        from spectac_fast.train.export import write_json

        known = {"format": FORMAT, "weights_sha256": model.weights_sha256}
        fitted = {"temperature": round(chosen[0], 4), "floor": round(chosen[1], 5)}
        with appearing(calibration_file(find(args.model))) as part:
            write_json(part, {**known, **fitted, "fitted_on": facts["fitted_on"]})
    print((args.out / "calibration.md").read_text())
    return 0


@dataclass(frozen=True)
class Drawn:
    """The patients of one cohort: voxels with the spread of half of the samples and of all, and some in all planes."""

    half: list[Voxels]
    whole: list[Voxels]
    planes: list[Planes]


def _draw(model: SamplingTranslator, cohort: Cohort, split: str, args: argparse.Namespace) -> Drawn:
    from bench.evidence.calibration_planes import Planes
    from spectac_fast.progress import Progress

    apart, together = _spaced(len(cohort), args.patients), _spaced(len(cohort), args.combined)
    drawn = Drawn([], [], [])
    with Progress(len(apart) + len(together), f"drawing samples, {split}", "patients") as progress:
        for i in apart:
            half, whole = patient_voxels(model, cohort, i, args)
            drawn.half.append(half)
            drawn.whole.append(whole)
            progress.step()
        for i in together:
            drawn.planes.append(Planes(model, cohort, i, args.phase, args.samples // 2))
            progress.step(note="planes combined")
    return drawn


def _judged(
    drawn: Mapping[str, Drawn], plain: tuple[float, float], chosen: tuple[float, float], samples: int
) -> list[tuple[str, str, tuple[float, float], Figures]]:
    """(section, row, (temperature, floor), figures) for every row of the page."""
    from spectac_fast.evaluate.calibration import judge

    rows = []
    for split, one in drawn.items():
        rows.append((split, f"{samples} samples as they are", (1.0, 0.0), judge(one.whole, 1.0, 0.0)))
        rows.append((split, "temperature alone", plain, judge(one.whole, *plain)))
        if chosen != plain:
            rows.append((split, "temperature and floor", chosen, judge(one.whole, *chosen)))
        rows.append((split, f"the same, {samples // 2} samples", chosen, judge(one.half, *chosen)))
    for split, one in drawn.items():
        for name, combined in (("each plane for itself", False), ("planes combined", True)):
            voxels = [patient.voxels(*chosen, combined=combined) for patient in one.planes]
            if voxels:
                title = f"{split}, whole heart region"
                rows.append((title, f"{name}, {samples // 2} samples", chosen, judge(voxels, 1.0, 0.0)))
    return rows


def _spaced(count: int, wanted: int) -> list[int]:
    """`wanted` evenly spaced numbers below `count`, or all."""
    wanted = min(count, wanted)
    return [k * count // wanted for k in range(wanted)]


def _name(folder: Path, patients: int) -> str:
    from spectac_fast.cohort.cohort import Cohort

    seeds = Cohort(folder).seeds
    taken = _spaced(len(seeds), patients)
    return f"{len(taken)} synthetic patients of seeds {min(seeds)}-{max(seeds)}"


def patient_voxels(
    model: SamplingTranslator, cohort: Cohort, index: int, args: argparse.Namespace
) -> tuple[Voxels, Voxels]:
    """Errors of the default image in the heart region, with the spread of half of the samples and of all."""
    import numpy as np
    import torch

    from spectac_fast.cohort.paired import facts_of_case
    from spectac_fast.data.geometry.neighbours import neighbours
    from spectac_fast.data.scale import heart_mask, to_model
    from spectac_fast.evaluate.calibration import Voxels
    from spectac_fast.evaluate.table.phase import slice_seeds
    from spectac_fast.models.translator import told
    from spectac_fast.terms import PLANES

    scale, case = cohort.scale(index, args.phase), cohort.cases[index]["seed"]
    parts: list[tuple[np.ndarray, ...]] = []
    for plane in PLANES:
        nc, ac = cohort.pair(index, args.phase, plane)
        heart = heart_mask(nc.shape, cohort.spacing_mm)
        inside = np.flatnonzero(heart.any(axis=(1, 2)))
        taken = inside[args.stride // 2 :: args.stride]
        given = to_model(nc, scale)
        beside = neighbours(given, cohort.spacing_mm[0], model.context_mm)
        seeds = slice_seeds(0, case, args.phase, plane, len(nc)).numpy()
        parts.append(tuple(a[taken] for a in (given, beside, seeds, to_model(ac, scale * model.gain), heart)))
    nc, beside, seeds, ac, heart = (np.concatenate(column) for column in zip(*parts))
    given = {"nc": torch.from_numpy(nc)[:, None], "neighbours": torch.from_numpy(beside)}
    given |= told(model, facts_of_case(cohort.cases[index]), len(nc))
    keys, half = torch.from_numpy(seeds), args.samples // 2
    image = model.translate(seeds=keys, **given)
    mean, std = model.moments(seeds=keys, samples=half, **given)
    # Other seeds are other samples: together they are twice as many, and the first half need not be drawn again.
    others, other_std = model.moments(seeds=~keys, samples=half, **given)
    squares = (half - 1) * (std.square() + other_std.square()) + 0.5 * half * (mean - others).square()
    both = (squares / (2 * half - 1)).sqrt()
    error = ac - image[:, 0].cpu().numpy()
    return tuple(Voxels(error[heart], spread[:, 0].cpu().numpy()[heart]) for spread in (std, both))
