"""How well absolute counts of a correction are known: the one factor a study that would bring it nearest to AC.

`python -m bench counts --data COHORT` corrects every phase of a cohort (`spectac phantom --protocol random --format
npy`) and compares the heart region with AC's. What an attenuated image shows of the pattern it does not show of the
sum: that is set by tissue which absorbs everywhere alike, and by what the department's AC does about scatter.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.outputs import appearing

if TYPE_CHECKING:
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.evaluate.table.variants import Row

RESULTS = Path(__file__).parents[2] / "results" / "counts"
# Of fewer patients nothing is said.
FEWEST = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="cohort of random protocols (npy)")
    parser.add_argument("-m", "--model", default="bbdm", help="model name or file (default: bbdm)")
    parser.add_argument("-d", "--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from bench.evidence.expected.expected import single_and_combined
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.evaluate.provenance import commit
    from spectac_fast.evaluate.table.variants import expand
    from spectac_fast.models.registry import load
    from spectac_fast.outputs import output_folder
    from spectac_fast.progress import Progress
    from spectac_fast.terms import PHASES

    made_by, out, cohort = commit(), output_folder(args.out), Cohort(args.data)
    try:
        _, row = single_and_combined(expand([args.model], lambda name: load(name, args.device), steps=1, samples=1))
    except ValueError as error:
        raise SystemExit(f"--model {args.model}: {error}") from None
    found = []
    with Progress(len(cohort), "counts", "patients") as progress:
        for case, about in enumerate(cohort.cases):
            for phase in PHASES:
                facts = {"seed": about["seed"], "phase": phase, "bmi": about["bmi"], "protocol": about["protocol"]}
                found.append(facts | {"factor": factor(cohort, case, phase, row)})
            progress.step()
    head = {"commit": made_by, "weights_sha256": row.translator.weights_sha256, "model": row.name}
    table = head | {"seeds": [cohort.seeds[0], cohort.seeds[-1]], "rows": summary(found), "studies": found}
    for name, content in (("json", json.dumps(table, indent=1, allow_nan=False) + "\n"), ("md", page(table))):
        with appearing(out / f"counts.{name}") as part:
            part.write_text(content)
    print(page(table))
    return 0


def factor(cohort: Cohort, case: int, phase: str, row: Row) -> float:
    """What the corrected heart regions of a phase, all planes together, are multiplied by to be nearest to AC."""
    from spectac_fast.data.scale import to_model
    from spectac_fast.evaluate.table.metrics import SeriesPair, best_factor
    from spectac_fast.evaluate.table.phase import Phase

    planes = Phase(cohort, case, phase, seed=0)
    corrected, _ = planes.correct(row)
    pairs = [
        SeriesPair(*(to_model(stacks[plane], planes.scale) for stacks in (corrected, planes.ac)), planes.hearts[plane])
        for plane in planes.nc
    ]
    return best_factor(pairs)


_Test = Callable[[Mapping[str, Any]], bool]


def _whole(study: Mapping[str, Any]) -> bool:
    return study["protocol"]["field"]["outside"] == "kept"


def _usual(study: Mapping[str, Any]) -> bool:
    return _whole(study) and study["protocol"]["ac"]["scatter"] != "none"


GROUPS: dict[str, _Test] = {
    "all": lambda study: True,
    "whole field of view, AC with scatter correction": _usual,
    "of these, as the training's department": lambda s: _usual(s) and s["protocol"]["name"] == "hanoi",
    "of these, other cameras and reconstructions": lambda s: _usual(s) and s["protocol"]["name"] != "hanoi",
    "of these, body mass index below 25": lambda s: _usual(s) and s["bmi"] < 25,
    "of these, body mass index 25 to 30": lambda s: _usual(s) and 25 <= s["bmi"] < 30,
    "of these, body mass index 30 and above": lambda s: _usual(s) and s["bmi"] >= 30,
    "whole field of view, AC without scatter correction": lambda s: _whole(s) and not _usual(s),
    "field of view cut to the heart": lambda s: not _whole(s),
}


def summary(studies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of every group of studies: how many, the typical factor (geometric mean), one standard deviation and the range of
    nine in ten, all as factors; groups of fewer than `FEWEST` patients are left out.
    """
    rows = []
    for name, belongs in GROUPS.items():
        chosen = [study for study in studies if belongs(study)]
        if len({study["seed"] for study in chosen}) < FEWEST:
            continue
        logs = np.log([study["factor"] for study in chosen])
        low, high = np.exp(np.quantile(logs, (0.05, 0.95)))
        found = {"typical": np.exp(logs.mean()), "deviation": np.exp(logs.std()), "low": low, "high": high}
        rows.append({"group": name, "studies": len(chosen)} | {key: float(value) for key, value in found.items()})
    return rows


def page(table: Mapping[str, Any]) -> str:
    """The page."""
    rows = "\n".join(
        f"| {row['group']} | {row['studies']} | {row['typical']:.2f} | {100 * (row['deviation'] - 1):.0f} % | "
        f"{row['low']:.2f} – {row['high']:.2f} |"
        for row in table["rows"]
    )
    first, last = table["seeds"]
    return f"""# How well absolute counts are known

Factor: what the corrected counts of a study's heart region have to be multiplied by to be nearest to CT-AC. An NC image
shows the pattern of attenuation, its sum only as far as bodies and cameras are alike: ratios within a corrected study
are what it is good for, its counts are known to about the deviation below. A model that takes facts is told what a
header would say, and which AC is wanted (`--keep-scatter`, `--sharper`).

| studies | number | typical factor | one deviation | nine in ten |
| --- | ---: | ---: | ---: | ---: |
{rows}

Fields of view that are cut are corrected here as arrays; `spectac correct` fills in what lies outside first, refuses
what is too small, and so does better on these.

Synthetic patients of validation, seeds {first} to {last}, stress and rest; {table["model"]}, weights
{table["weights_sha256"][:12]}, commit {table["commit"]}; `python -m bench counts --data COHORT`.
"""
