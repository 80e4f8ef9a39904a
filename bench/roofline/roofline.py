"""What the CUDA kernels may reach on an H200, by their machine code and the bytes they move: predicted, never run."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from bench.outputs import write
from bench.roofline import device, page, sass
from bench.roofline.compiler import SOURCES, machine_code
from bench.roofline.work import OPS, Predicted
from bench.speed import kernels
from bench.speed.case import Case
from spectac_fast.errors import SetupError
from spectac_fast.evaluate.provenance import commit

ARCHITECTURE = "sm_90"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", type=Path, default=kernels.RESULTS, help="folder of the results")
    parser.add_argument("--ops", nargs="+", metavar="NAME", choices=kernels.names(), help="only these operators")


def run(args: argparse.Namespace) -> int:
    names = args.ops or kernels.names()
    with tempfile.TemporaryDirectory() as folder:
        code = {}
        for name in names:
            print(f"compiling {name}.cu for {ARCHITECTURE}", flush=True)
            code[name] = sass.functions(machine_code(SOURCES / f"{name}.cu", Path(folder), ARCHITECTURE))
    results = [(case, list(predicted(case, code))) for name in names for case in cases(name)]
    facts = {"predicted for": "NVIDIA H200 SXM, never run on one", "commit": commit()}
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "roofline.md", page.markdown(results, facts))
    page.write_csv(args.out / "roofline.csv", results, facts)
    print(page.markdown(results, facts))
    return 0


def cases(name: str) -> list[Case]:
    """As they are measured, but nothing is compiled for the CPU and nothing runs twice."""
    with torch.compiler.set_stance("force_eager"):
        return list(kernels.cases(name, torch.device("cpu")))


def predicted(case: Case, code: dict[str, dict[str, list[sass.Instruction]]]) -> Iterator[Predicted]:
    """Every launch of a case. Raises SetupError where the compiler has made other loops than are known."""
    for launch in OPS[case.op](case):
        found = [instructions for name, instructions in code[launch.source].items() if launch.is_of(name)]
        try:
            (instructions,) = found
            counts = sass.longest(instructions, launch.turns, launch.avoided)
        except ValueError as error:
            raise SetupError(
                f"{launch.source}.cu: {launch.kernel}: {error}, in code of another nvcc than 13.0?"
            ) from None
        yield Predicted(launch, counts, device.bounds(launch.transferred, launch.warps, counts))
