"""Whether the model's standard deviations say how large its errors are, and the calibration that makes them do so.

`--data` must hold other patients than `python -m bench expected` was fitted on: how much deviations widen with the
error that is expected of a study is fitted on them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.outputs import appearing, write

if TYPE_CHECKING:
    from bench.evidence.calibration_planes import Planes
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.evaluate.calibration import Figures, Voxels
    from spectac_fast.evaluate.table.variants import Row
    from spectac_fast.models.translator import SamplingTranslator
    from spectac_fast.models.uncertainty import Calibration

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
    parser.add_argument(
        "--protocols",
        type=Path,
        nargs="*",
        default=[],
        metavar="DIR",
        help="cohorts of one protocol each, which are judged one by one",
    )
    parser.add_argument("--each", type=int, default=8, metavar="N", help="patients of each of them (default: 8)")
    parser.add_argument("--phase", default="stress", help="stress or rest (default: stress)")
    parser.add_argument("-d", "--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--store", action="store_true", help="write the calibration beside the weights, to be used")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from bench.evidence.calibration_page import page, picture
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.evaluate.provenance import commit, machine
    from spectac_fast.models.registry import load
    from spectac_fast.models.uncertainty import FORMAT, calibration_file, check_sampling

    made_by, model = commit(), check_sampling(load(args.model, args.device))
    drawn = {
        split: _draw(model, Cohort(folder), split, args, args.patients, args.combined)
        for split, folder in (("validation", args.data), ("test", args.test))
    }
    beside = {}
    for folder in args.protocols:
        cohort = Cohort(folder)
        beside[_protocol(cohort)] = _draw(model, cohort, _protocol(cohort), args, args.each, 0)
    narrow, final = fitted(drawn["validation"])
    rows = _judged(drawn, narrow, final, args.samples)
    apart = {name: [_coverages(one, known) for known in (narrow, final)] for name, one in beside.items()}
    facts = {
        "model": model.name,
        "weights_sha256": model.weights_sha256,
        "fitted_on": _name(args.data, args.patients),
        "judged_on": _name(args.test, args.patients),
        "samples": args.samples,
        "slices": f"every {args.stride}. slice of the heart region (a 60 mm sphere), SA, VLA and HLA, {args.phase}",
        "commit": made_by,
        "machine": machine(model.device),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    content = {
        **facts,
        **{name: value for name, value in asdict(final).items() if name != "measured"},
        "rows": [
            {"split": split, "row": name, "temperature": known.temperature, "floor": known.floor,
             "exponent": known.exponent, **asdict(got)}
            for split, name, known, got in rows
        ],
        "protocols": apart,
    }  # fmt: skip
    write(args.out / "calibration.json", json.dumps(content, indent=1) + "\n")
    write(args.out / "calibration.md", page(facts, rows, final, apart, args.each))
    picture(args.out / "calibration.png", drawn["test"].widened(final).whole, (final.temperature, final.floor))
    if args.store:
        from spectac_fast.models.names import find
        from spectac_fast.train.export import write_json

        known = {"format": FORMAT, "weights_sha256": model.weights_sha256}
        found = {"temperature": round(final.temperature, 4), "floor": round(final.floor, 5)}
        found |= {"exponent": round(final.exponent, 3), "usual": round(final.usual, 3)}
        with appearing(calibration_file(find(args.model))) as part:
            write_json(part, {**known, **found, "fitted_on": facts["fitted_on"]})
    print((args.out / "calibration.md").read_text())
    return 0


@dataclass(frozen=True)
class Drawn:
    """The patients of one cohort: voxels with the spread of half of the samples and of all, and some in all planes;
    expected, of_planes: the error that is expected of each, % of the maximum, None where that is not known.
    """

    half: list[Voxels]
    whole: list[Voxels]
    expected: list[float | None]
    planes: list[Planes]
    of_planes: list[float | None]

    def widened(self, known: Calibration) -> Drawn:
        """With the deviations of each patient as wide as a calibration makes them."""
        wide = [known.widening(one) for one in self.expected]
        half, whole = ([replace(v, widening=w) for v, w in zip(of, wide)] for of in (self.half, self.whole))
        return replace(self, half=half, whole=whole)


def fitted(drawn: Drawn) -> tuple[Calibration, Calibration]:
    """(one calibration for all studies, one that widens with what is expected of each); the same where nothing is."""
    from spectac_fast.evaluate.calibration import fit_widening
    from spectac_fast.models.uncertainty import Calibration

    narrow = Calibration(*_fitted(drawn.whole))
    known = [one for one in drawn.expected if one is not None]
    if len(known) < len(drawn.expected):
        return narrow, narrow
    exponent, usual = fit_widening(drawn.whole, known)
    return narrow, replace(
        Calibration(*_fitted(drawn.widened(Calibration(exponent=exponent, usual=usual)).whole)),
        exponent=exponent,
        usual=usual,
    )


def _fitted(patients: Sequence[Voxels]) -> tuple[float, float]:
    """(temperature, floor), without a floor where the temperature suffices."""
    from spectac_fast.evaluate.calibration import fit, judge

    plain = fit(patients, with_floor=False)
    return fit(patients, with_floor=True) if judge(patients, *plain).worst > ENOUGH else plain


def _draw(
    model: SamplingTranslator, cohort: Cohort, title: str, args: argparse.Namespace, patients: int, combined: int
) -> Drawn:
    from bench.evidence.calibration_planes import Planes
    from bench.evidence.expected.expected import single_and_combined
    from bench.evidence.expected.studies import expectation
    from spectac_fast.evaluate.table.variants import expand
    from spectac_fast.progress import Progress

    rows: tuple[Row, ...] = ()
    if getattr(model, "expected_error", None) is not None:
        rows = single_and_combined(expand([args.model], lambda _: model, steps=1, samples=1))

    def expected(i: int) -> float | None:
        return expectation(cohort, i, args.phase, *rows) if rows else None

    apart, together = _spaced(len(cohort), patients), _spaced(len(cohort), combined)
    drawn = Drawn([], [], [], [], [])
    with Progress(len(apart) + len(together), f"drawing samples, {title}", "patients") as progress:
        for i in apart:
            half, whole = patient_voxels(model, cohort, i, args)
            drawn.half.append(half)
            drawn.whole.append(whole)
            drawn.expected.append(expected(i))
            progress.step()
        for i in together:
            drawn.planes.append(Planes(model, cohort, i, args.phase, args.samples // 2))
            drawn.of_planes.append(expected(i))
            progress.step(note="planes combined")
    return drawn


def _judged(
    drawn: Mapping[str, Drawn], narrow: Calibration, final: Calibration, samples: int
) -> list[tuple[str, str, Calibration, Figures]]:
    """(section, row, calibration, figures) for every row of the page."""
    from spectac_fast.evaluate.calibration import judge
    from spectac_fast.models.uncertainty import Calibration

    rows = []
    for split, one in drawn.items():
        for name, known, half in (
            (f"{samples} samples as they are", Calibration(), False),
            ("the same calibration for all studies", narrow, False),
            ("wider where more error is expected", final, False),
            (f"the same, {samples // 2} samples", final, True),
        ):
            wide = one.widened(known)
            figures = judge(wide.half if half else wide.whole, known.temperature, known.floor)
            rows.append((split, name, known, figures))
    for split, one in drawn.items():
        for name, combined in (("each plane for itself", False), ("planes combined", True)):
            voxels = [
                replace(planes.voxels(final.temperature, final.floor, combined=combined), widening=final.widening(of))
                for planes, of in zip(one.planes, one.of_planes)
            ]
            if voxels:
                title = f"{split}, whole heart region"
                rows.append((title, f"{name}, {samples // 2} samples", final, judge(voxels, 1.0, 0.0)))
    return rows


def _coverages(drawn: Drawn, known: Calibration) -> list[float]:
    """Mean over patients of what the intervals of `LEVELS` cover."""
    import numpy as np

    from spectac_fast.evaluate.calibration import LEVELS, coverage

    wide = drawn.widened(known).whole
    each = [coverage(voxels, known.temperature, known.floor, LEVELS) for voxels in wide]
    return [float(value) for value in np.mean(each, axis=0)]


def _protocol(cohort: Cohort) -> str:
    """The name of a cohort's one protocol."""
    (name,) = {case.get("protocol", {}).get("name", "hanoi") for case in cohort.cases}
    return name


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
