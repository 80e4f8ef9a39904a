"""Published checkpoints in every configuration, imported and compared with a small writing of the published code.

Writes bench/results/checkpoints.md. Nothing in it depends on the machine but the last digits of differences,
which are given as bounds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.matrix.bridges import make as make_bbdm
from bench.matrix.bridges import make_cpdm, maps_of
from bench.matrix.cases import Case, cases
from bench.matrix.diffusions import make_ldm, make_palette
from bench.matrix.gans import make_junyanz, make_reggan, make_unit
from bench.outputs import write
from spectac_fast.cli import main
from spectac_fast.models.registry import load

RESULTS = Path(__file__).parents[1] / "results"
MAKERS: dict[str, Callable[..., Any]] = {
    "bbdm": make_bbdm, "cpdm": make_cpdm, "palette": make_palette, "ldm": make_ldm, "pix2pix": make_junyanz,
    "cyclegan": make_junyanz, "reggan": make_reggan, "unit": make_unit,
}  # fmt: skip
_SEEDS = torch.tensor([2**62 + 1, 7])
# Latent diffusion's own default takes 50 steps, too many for a hundred timesteps and a table like this.
_ASKED = {"ldm": {"steps": 4, "eta": 1.0}}


@dataclass(frozen=True)
class Outcome:
    """What became of a case. said: values assumed in spite of its configuration, or the sentence of a refusal.

    difference: the largest, as a share of the largest published value; None for a refusal.
    """

    case: Case
    said: str
    difference: float | None

    @property
    def right(self) -> bool:
        if self.case.refused:
            return self.difference is None and self.case.refused in self.said and self.said.count("\n") == 1
        return self.difference is not None and self.difference < self.case.tolerance


def outcome(case: Case, folder: Path) -> Outcome:
    """Make the files of a case in an empty folder, import them with their configuration, and compare."""
    checkpoint, configuration, expected = MAKERS[case.layout](case.options, folder)
    out, side = folder / "out.safetensors", str(case.side)
    arguments = ["--layout", case.layout, "--config", str(configuration), "--size", side, side, "--fit", "pad"]
    printed, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        status = main(["import", str(checkpoint), *arguments, "-o", str(out)])
    if status:
        return Outcome(case, said.getvalue().replace(str(folder), ""), None)
    nc = torch.rand(2, 1, case.side, case.side, generator=torch.Generator().manual_seed(11)) * 2 - 1
    with torch.no_grad():
        published = expected(nc, _SEEDS)
    translator = load(out, device="cpu")
    given = maps_of(nc) if case.layout == "cpdm" else {}
    found = translator.translate(nc, _SEEDS, **_ASKED.get(case.layout, {}), **given)
    difference = float((found - published).abs().max() / published.abs().max())
    return Outcome(case, ", ".join(translator.card["origin"].get("assumed", [])), difference)


def table(outcomes: Iterable[Outcome]) -> str:
    """The page."""
    rows = list(outcomes)
    runs = [row for row in rows if not row.case.refused]
    lines = [
        "# Published checkpoints, one configuration after another",
        "",
        f"{len(rows)} configurations: {len(runs)} run, {len(rows) - len(runs)} are refused in a sentence. Each is a",
        "file of random weights as the published code writes it, with the configuration that its runner leaves there;",
        "`spectac import --config` makes a model of the two, and its images are compared with those of a small writing",
        "of the published modules that shares no line with the package (`bench/matrix`). Noise is the same in both.",
        "Recorded runs of the published code itself, `bbdm_heads` and the other golden data, are compared in",
        "`tests/checkpoints/test_configurations.py` and `tests/models/golden`. `python -m bench checkpoints` makes",
        "this page; the same cases are a test.",
        "",
        "| configuration | layout | difference, of the largest value | still assumed, or the sentence |",
        "|---|---|---|---|",
    ]
    for row in rows:
        bound = "refused" if row.difference is None else f"< {row.case.tolerance:g}"
        lines.append(f"| {row.case.name} | {row.case.layout} | {bound} | {row.said.strip()} |")
    return "\n".join([*lines, ""])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "checkpoints.md", metavar="FILE")


def run(args: argparse.Namespace) -> int:
    found = []
    for case in cases():
        with tempfile.TemporaryDirectory() as folder:
            found.append(outcome(case, Path(folder)))
        if not found[-1].right:
            print(f"wrong: {case.name}: {found[-1].difference} {found[-1].said}")
    write(args.out, table(found))
    wrong = sum(not each.right for each in found)
    print(f"{len(found)} configurations, {wrong} of them wrong; written to {args.out}")
    return 1 if wrong else 0
