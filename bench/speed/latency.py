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

from bench.outputs import appearing, write
from bench.speed.latency_goals import NATIVE, Case, Goal, equal_sample, goals, judged, standard
from bench.speed.timing import ratio, surroundings
from bench.speed.workloads import PAPER, PAPER_WHOLE, workload
from spectac_fast.models.registry import load
from spectac_fast.tracing import PhaseClock, tracing

RESULTS = Path(__file__).parents[1] / "results"
NETWORK = ("encode", "network", "decode")
_COLUMNS = (
    *("model", "batch", "evaluations", "ms", "p20 - p80", "p99", "slices/s", "network", "MB", "kernels"),
    *("published", "its evaluations", "ratio"),
)


@dataclass(frozen=True)
class Latency:
    """One case: milliseconds per slice over the rounds, and what else was seen.

    network: share of the time inside its networks. peak_mb: device memory on a GPU, the process's on a CPU. kernels:
    launched per call, on a GPU. ratio: how many times as long the published arithmetic takes, the rounds' median.
    """

    model: str
    batch: int
    steps: int
    solver: str | None
    dtype: str
    median: float
    p20: float
    p80: float
    p99: float
    slices_per_s: float
    network: float
    peak_mb: float
    kernels: int | None
    published: float
    published_steps: int
    ratio: float

    @property
    def case(self) -> Case:
        return Case(self.model, self.batch, self.steps, self.published_steps, self.dtype, self.solver)

    @property
    def outside(self) -> float:
        """Per cent of the time outside the networks."""
        return 100.0 * (1.0 - self.network)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    known = f"bridges by name or file, {PAPER} or {PAPER_WHOLE}"
    parser.add_argument("-m", "--model", nargs="+", help=f"{known} (default: what the goals ask for)")
    parser.add_argument("--batch", type=numbers, default=[1, 8, 64], help="of --model: slices at a time (1,8,64)")
    parser.add_argument("--steps", type=numbers, default=[6], help="of --model: evaluations, on both sides (6)")
    parser.add_argument("-d", "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU (default: 2)")
    parser.add_argument("--seconds", type=float, default=8.0, help="measured per row (default: 8)")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    device = torch.device(args.device)
    torch.set_num_threads(args.threads)
    native = load(NATIVE, device="cpu")
    equal = equal_sample(RESULTS / "quality-cost" / "measured_cpu.json", native)
    wanted = goals(native.defaults["steps"], native.defaults["sample_steps"], equal)
    if args.model:
        cases = [Case(m, b, s, s) for m in args.model for s in args.steps for b in args.batch]
    else:
        cases = standard(device.type, wanted)
    args.out.mkdir(parents=True, exist_ok=True)
    facts = {**surroundings(device), "seconds per row": f"{args.seconds:g}"}
    said = f"{equal.evaluations}, {equal.solver}" if equal else "not known of these weights: `python -m bench quality`"
    facts["fewest evaluations that sample like the published 200"] = said
    target = args.out / f"latency_{device.type}"
    results = []
    for case in cases:
        results.append(measure(case, device, args.seconds))
        print(_cells(results[-1]), flush=True)
        # After every row, so that a run that is cut short leaves what it has.
        write(target.with_suffix(".md"), markdown(results, facts, [] if args.model else wanted, device.type))
        write_csv(target.with_suffix(".csv"), results, facts)
        gc.collect()
    return 0


def measure(case: Case, device: torch.device, seconds: float) -> Latency:
    """Ours and the published arithmetic in turn, round by round, for about so long, three rounds at least.

    Where a round takes longer than that, two are enough.
    """
    calls = workload(case.model, case.batch, case.steps, case.published_steps, device, case.dtype, case.solver)
    wait = torch.cuda.synchronize if device.type == "cuda" else _nothing
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    # Three on a GPU, because a graph is recorded at the second call.
    for _ in range(3 if device.type == "cuda" else 1):
        calls.ours()
    started = time.perf_counter()
    calls.published()
    least = 2 if time.perf_counter() - started > seconds else 3
    ours: list[float] = []
    theirs: list[float] = []
    end = time.perf_counter() + seconds
    while len(ours) < least or time.perf_counter() < end:
        ours.append(_milliseconds(calls.ours, wait) / case.batch)
        theirs.append(_milliseconds(calls.published, wait) / case.batch)
    at = [sorted(ours)[round(q * (len(ours) - 1))] for q in (0.5, 0.2, 0.8, 0.99)]
    return Latency(
        case.model,
        case.batch,
        case.steps,
        case.solver,
        case.dtype,
        *at,
        slices_per_s=1e3 / at[0],
        network=network_share(calls.ours, wait),
        peak_mb=_peak(device),
        kernels=_kernels(calls.ours) if device.type == "cuda" else None,
        published=sorted(theirs)[len(theirs) // 2],
        published_steps=case.published_steps,
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
    share = "-" if row.network != row.network else f"{row.network:.1%}"
    cells = (
        row.model if row.dtype == "float32" else f"{row.model}, {row.dtype} body",
        *(row.batch, f"{row.steps}, {row.solver}" if row.solver else row.steps),
        *(f"{row.median:.2f}", f"{row.p20:.2f} - {row.p80:.2f}", f"{row.p99:.2f}"),
        *(f"{row.slices_per_s:.1f}", share, f"{row.peak_mb:.0f}", "-" if row.kernels is None else row.kernels),
        *(f"{row.published:.2f}", row.published_steps, f"{row.ratio:.2f} x"),
    )
    return f"| {' | '.join(map(str, cells))} |"


def markdown(results: Sequence[Latency], facts: dict[str, str], wanted: Sequence[Goal], device: str) -> str:
    """The page: facts, goals and whether they are reached, then one row per measurement."""
    by_case = {row.case: row for row in results}

    def value_of(case: Case, name: str) -> float | None:
        return getattr(by_case[case], name) if case in by_case else None

    rows = ["# Time per slice", "", *(f"* {name}: {value}" for name, value in facts.items()), ""]
    if wanted:
        rows += ["## Goals", "", "| goal | on | limit | measured | verdict |", "| --- | --- | --- | --- | --- |"]
        rows += [f"| {' | '.join(cells)} |" for cells in judged(wanted, device, value_of)]
        rows += ["", "## Rows", ""]
    rows += [
        "`evaluations`: by the weights' own solver where none is named.",
        "`ms`: median time of one call divided by its slices, its 20th to 80th and its 99th percentile. `network`:",
        "share of the time inside networks. `MB`: peak of the device's memory, on a CPU of the process so far.",
        "`published`: the published sampler's arithmetic in eager torch with the same weights in float32, measured in",
        "turn with ours, by `its evaluations`; `ratio` is the median of the rounds' own ratios.",
        f"{PAPER}: the latent network alone, 4x32x32, with random weights of the published sizes; {PAPER_WHOLE}: from",
        "image to image, with a VQGAN that is the package's on both sides. A translator runs at least two slices at a",
        "time, so its batch 1 does twice the work.",
        "",
        "| " + " | ".join(_COLUMNS) + " |",
        "|" + " --- |" * len(_COLUMNS),
        *map(_cells, results),
    ]
    return "\n".join(rows) + "\n"


def write_csv(path: Path, results: Sequence[Latency], facts: dict[str, str]) -> None:
    """The same numbers unrounded, each row with all facts."""
    with appearing(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(field.name for field in fields(Latency)), *facts])
        writer.writerows([*asdict(row).values(), *facts.values()] for row in results)
