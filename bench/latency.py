"""Time per slice of whole models against the published arithmetic in eager torch, and where it goes."""

from __future__ import annotations

import argparse
import csv
import gc
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from bench.timing import ratio, surroundings
from bench.workloads import PAPER, workload
from spectac_fast.tracing import PhaseClock, tracing

RESULTS = Path(__file__).parent / "results"
NETWORK = ("encode", "network", "decode")
_COLUMNS = (
    *("model", "batch", "evaluations", "ms", "p20 - p80", "p99", "slices/s", "network", "MB", "kernels"),
    *("published", "ratio"),
)


@dataclass(frozen=True)
class Latency:
    """One model at one batch size: milliseconds per slice over the rounds, and what else was seen.

    network: share of the time inside its networks. peak_mb: device memory on a GPU, the process's on a CPU. kernels:
    launched per call, on a GPU. ratio: how many times as long the published arithmetic takes, the rounds' median.
    """

    model: str
    batch: int
    steps: int
    median: float
    p20: float
    p80: float
    p99: float
    slices_per_s: float
    network: float
    peak_mb: float
    kernels: int | None
    published: float
    ratio: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser.add_argument(
        "-m", "--model", nargs="+", default=["bbdm", PAPER], help=f"bridges by name or file, or {PAPER} (default: both)"
    )
    parser.add_argument("--batch", type=numbers, default=[1, 8, 64], help="slices at a time (default: 1,8,64)")
    parser.add_argument("--steps", type=numbers, help="network evaluations (default: the model's)")
    parser.add_argument("-d", "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU (default: 2)")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured per row (default: 10)")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    device = torch.device(args.device)
    torch.set_num_threads(args.threads)
    results = []
    for model in args.model:
        for steps in args.steps or [None]:
            for batch in args.batch:
                results.append(measure(model, batch, steps, device, args.seconds))
                print(_cells(results[-1]), flush=True)
                gc.collect()
    args.out.mkdir(parents=True, exist_ok=True)
    facts = {**surroundings(device), "seconds per row": f"{args.seconds:g}"}
    target = args.out / f"latency_{device.type}"
    target.with_suffix(".md").write_text(markdown(results, facts))
    write_csv(target.with_suffix(".csv"), results, facts)
    return 0


def measure(model: str, batch: int, steps: int | None, device: torch.device, seconds: float) -> Latency:
    """Ours and the published arithmetic in turn, round by round, for about so long (three rounds at least)."""
    calls, evaluations = workload(model, batch, steps, device)
    wait = torch.cuda.synchronize if device.type == "cuda" else _nothing
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(3):
        # Three, because a graph is recorded at the second call.
        calls.ours()
    calls.published()
    ours: list[float] = []
    theirs: list[float] = []
    end = time.perf_counter() + seconds
    while len(ours) < 3 or time.perf_counter() < end:
        ours.append(_milliseconds(calls.ours, wait) / batch)
        theirs.append(_milliseconds(calls.published, wait) / batch)
    at = [sorted(ours)[round(q * (len(ours) - 1))] for q in (0.5, 0.2, 0.8, 0.99)]
    return Latency(
        model,
        batch,
        evaluations,
        *at,
        slices_per_s=1e3 / at[0],
        network=network_share(calls.ours, wait),
        peak_mb=_peak(device),
        kernels=_kernels(calls.ours) if device.type == "cuda" else None,
        published=sorted(theirs)[len(theirs) // 2],
        ratio=ratio(theirs, ours),
    )


def network_share(call: Callable[[], object], wait: Callable[[], object]) -> float:
    """Share of a call's time inside its networks. What a graph replays is not seen from outside: nan."""
    clock = PhaseClock(wait)
    with tracing(clock.range):
        total = _milliseconds(call, wait) / 1e3
    return sum(clock.seconds[name] for name in NETWORK) / total if clock.calls["network"] else float("nan")


def _milliseconds(call: Callable[[], object], wait: Callable[[], object]) -> float:
    wait()
    started = time.perf_counter()
    call()
    wait()
    return (time.perf_counter() - started) * 1e3


def _nothing() -> None:
    pass


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _kernels(call: Callable[[], object]) -> int:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events())


def _cells(row: Latency) -> str:
    kernels = "-" if row.kernels is None else str(row.kernels)
    share = "-" if row.network != row.network else f"{row.network:.1%}"
    cells = (
        *(row.model, row.batch, row.steps, f"{row.median:.2f}", f"{row.p20:.2f} - {row.p80:.2f}", f"{row.p99:.2f}"),
        *(
            f"{row.slices_per_s:.1f}",
            share,
            f"{row.peak_mb:.0f}",
            kernels,
            f"{row.published:.2f}",
            f"{row.ratio:.2f} x",
        ),
    )
    return f"| {' | '.join(map(str, cells))} |"


def markdown(results: Sequence[Latency], facts: dict[str, str]) -> str:
    """The page: facts, then one row per measurement."""
    rows = [
        "# Time per slice",
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
        "",
        "`ms`: median time of one call divided by its slices, its 20th to 80th and its 99th percentile. `network`:",
        "share of the time inside networks. `MB`: peak of the device's memory, on a CPU of the process so far.",
        "`published`: the published sampler's arithmetic in eager torch, same weights, precision and number of",
        "evaluations, measured in turn with ours; `ratio` is the median of the rounds' own ratios.",
        f"{PAPER}: the latent network alone, with random weights. A translator runs at least two slices at a time, so",
        "its batch 1 does twice the work.",
        "",
        "| " + " | ".join(_COLUMNS) + " |",
        "|" + " --- |" * len(_COLUMNS),
        *map(_cells, results),
    ]
    return "\n".join(rows) + "\n"


def write_csv(path: Path, results: Sequence[Latency], facts: dict[str, str]) -> None:
    """The same numbers unrounded, each row with all facts."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(field.name for field in fields(Latency)), *facts])
        writer.writerows([*asdict(row).values(), *facts.values()] for row in results)
