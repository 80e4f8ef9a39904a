"""Every fused operator against its rivals doing the same, and against a copy of the bytes it must move."""

from __future__ import annotations

import argparse
import gc
import importlib
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from bench import limited
from bench.outputs import write
from bench.speed import peers, report
from bench.speed.case import COPY, Call, Case
from bench.speed.report import OURS, Measured
from bench.speed.timing import cpu_sampler, cuda_sampler, interleave, quantiles, ratio, surroundings
from spectac_fast.errors import UsageError

RESULTS = Path(__file__).parents[1] / "results"
CASES = Path(__file__).parents[1] / "cases"
L2_BYTES = 64 << 20  # at least the second-level cache of today's GPUs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="thread counts on the CPU (default: 1 2)"
    )
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument(
        "--machine", default="", metavar="NAME", help="part of the files' names, for results beside another machine's"
    )
    parser.add_argument(
        "--isa",
        choices=limited.ISAS,
        help="limit this processor, both sides; builds the extension once more, and the files' names end in it",
    )
    parser.add_argument("--peers", type=Path, metavar="DIR", help="folder of wheels or sources of packages to compare")
    parser.add_argument("--ops", nargs="+", metavar="NAME", choices=names(), help="only these operators")


def names() -> list[str]:
    """Operators that have cases: the modules of the folder."""
    return sorted(path.stem for path in CASES.glob("[!_]*.py"))


def cases(op: str, device: torch.device) -> Iterator[Case]:
    return importlib.import_module(f"bench.cases.{op}").cases(device)


def copy_of(moved: int, device: torch.device) -> Call:
    """A copy that reads and writes so many bytes together."""
    source = torch.randn(moved // 8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def measure(same: list[Case], device: torch.device) -> Measured:
    """Time one case, given as many times as there are sets of buffers (one on the CPU)."""
    case = same[0]
    copies = [copy_of(case.moved, device) for _ in same]
    missing = dict(case.missing)
    samplers = {}
    for name in (OURS, COPY, *case.rivals):
        calls = [one.ours if name == OURS else one.rivals[name] for one in same] if name != COPY else copies
        try:
            samplers[name] = cuda_sampler(calls) if device.type == "cuda" else cpu_sampler(calls[0])
        except Exception as error:
            if name in (OURS, COPY):
                raise
            missing[name] = peers.reason(error)
    samples = interleave(samplers)
    advantage = {name: ratio(taken, samples[OURS]) for name, taken in samples.items()}
    threads = None if device.type == "cuda" else torch.get_num_threads()
    notes = {name: sampler.note for name, sampler in samplers.items() if sampler.note}
    times = {name: quantiles(taken) for name, taken in samples.items()}
    return Measured(case, threads, times, advantage, missing, notes)


def measure_cpu(op: str, threads: int) -> Iterator[Measured]:
    # Before the cases are made: a compiled rival is compiled for the number of threads it sees.
    torch.set_num_threads(threads)
    for case in cases(op, torch.device("cpu")):
        yield measure([case], torch.device("cpu"))


def measure_cuda(op: str) -> Iterator[Measured]:
    device = torch.device("cuda")
    for i, case in enumerate(cases(op, device)):
        sets = min(64, 5 * L2_BYTES // case.moved + 1)
        others = [next(islice(cases(op, device), i, None)) for _ in range(sets - 1)]
        yield measure([case, *others], device)
        del others
        gc.collect()
        torch.cuda.empty_cache()


def run(args: argparse.Namespace) -> int:
    device = torch.device(args.device)
    if args.isa and device.type != "cpu":
        raise UsageError(f"--isa {args.isa}: expected --device cpu, found {args.device}.")
    if args.isa and not limited.inside():
        return limited.again(sys.argv[1:])
    if args.peers:
        peers.add_folder(args.peers)
    results: list[Measured] = []
    for op in args.ops or names():
        turns = [measure_cuda(op)] if device.type == "cuda" else [measure_cpu(op, n) for n in args.threads]
        for turn in turns:
            for measured in turn:
                print(report.line(measured), flush=True)
                results.append(measured)
    facts = surroundings(device) | limited.fact() | {"rivals": peers.versions() or "none beyond torch"}
    text = report.markdown(results, facts, device.type == "cuda")
    args.out.mkdir(parents=True, exist_ok=True)
    stem = "_".join(["kernels", device.type, *filter(None, (args.machine, args.isa))])
    write(args.out / f"{stem}.md", text)
    report.write_csv(args.out / f"{stem}.csv", results, facts)
    print(text)
    return 0
