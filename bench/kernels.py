"""Every fused operator against plain torch doing the same, and against a copy of the bytes it must move."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bench.timing import Times, surroundings, time_cpu, time_cuda
from spectac_fast._op import BACKENDS, Op
from spectac_fast.ops import sampler_step

RESULTS = Path(__file__).parent / "results"
SHAPES = ((1, 1, 64, 64), (8, 1, 64, 64), (64, 1, 64, 64), (8, 1, 256, 256))
L2_BYTES = 64 << 20  # at least the second-level cache of today's GPUs


@dataclass(frozen=True)
class Line:
    """One measured implementation of one case."""

    op: str
    shape: str
    threads: int
    what: str
    times: Times
    gigabytes_per_second: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="thread counts on the CPU (default: 1 2)"
    )
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def published_step(
    x: torch.Tensor, f: torch.Tensor, y: torch.Tensor, m: torch.Tensor, variance: torch.Tensor, t: int, n: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """One reverse step as the published BBDM sampler computes it, operation by operation (Li et al., CVPR 2023).

    x, f, y: state, network output and condition [B, C, H, W]; m, variance: schedules [T]; t, n: this and the next step.
    """

    def at(schedule: torch.Tensor, step: int) -> torch.Tensor:
        steps = torch.full((x.shape[0],), step, device=x.device, dtype=torch.long)
        return schedule.gather(-1, steps).reshape(-1, 1, 1, 1)

    x0 = x - f
    m_t, m_n, var_t, var_n = at(m, t), at(m, n), at(variance, t), at(variance, n)
    sigma2 = (var_t - var_n * (1.0 - m_t) ** 2 / (1.0 - m_n) ** 2) * var_n / var_t
    noise = torch.randn_like(x)
    mean = (1.0 - m_n) * x0 + m_n * y + torch.sqrt((var_n - sigma2) / var_t) * (x - (1.0 - m_t) * x0 - m_t * y)
    return mean + torch.sqrt(sigma2) * noise, x0


def sampler_step_calls(shape: tuple[int, ...], device: torch.device) -> Iterator[tuple[str, Callable[[], object], int]]:
    """(what, call, bytes it must move): ours on every back end, the published arithmetic, and a copy."""
    x, f, y, x_next, x0 = (torch.randn(shape, device=device) for _ in range(5))
    m = torch.linspace(0.001, 0.999, 1000, device=device)
    variance = 2 * (m - m**2)
    m_t, m_n = float(m[500]), float(m[400])
    row = torch.zeros(14)
    row[:2] = torch.tensor([1.0, -1.0])
    row[3], row[4], row[8] = m_n / m_t, 1 - m_n / m_t, (2 * m_n * (1 - m_n / m_t)) ** 0.5
    row = row.to(device)
    seeds = torch.arange(shape[0], device=device)
    moved = 5 * x.numel() * x.element_size()

    for backend in BACKENDS:
        if backend == "reference" or Op._all["sampler_step"].why_not(backend, device.type):
            continue

        def ours(backend: str = backend) -> None:
            sampler_step(x, f, y, row, seeds=seeds, x_next=x_next, x0=x0, backend=backend)

        yield f"ours ({backend})", ours, moved
    yield "published arithmetic", lambda: published_step(x, f, y, m, variance, 500, 400), moved
    source, target = (torch.empty(moved // 8, device=device) for _ in range(2))
    yield "copy of as many bytes", lambda: target.copy_(source), moved


def measure_cpu(threads: int) -> Iterator[Line]:
    torch.set_num_threads(threads)
    for shape in SHAPES:
        for what, call, moved in sampler_step_calls(shape, torch.device("cpu")):
            times = time_cpu(call)
            yield Line("sampler_step", str(list(shape)), threads, what, times, moved / times.median / 1e3)


def measure_cuda() -> Iterator[Line]:
    device = torch.device("cuda")
    for shape in SHAPES:
        first = list(sampler_step_calls(shape, device))
        sets = min(64, 5 * L2_BYTES // first[0][2] + 1)
        rotating = [first, *(list(sampler_step_calls(shape, device)) for _ in range(sets - 1))]
        for i, (what, _, moved) in enumerate(first):
            times = time_cuda([calls[i][1] for calls in rotating])
            yield Line("sampler_step", str(list(shape)), 0, what, times, moved / times.median / 1e3)


def table(lines: list[Line], facts: dict[str, str]) -> str:
    """Markdown, one row per implementation: `speed-up` over the published arithmetic, `of copy` as fast as the copy."""
    by_case: dict[tuple[str, int], dict[str, Line]] = {}
    for line in lines:
        by_case.setdefault((line.shape, line.threads), {})[line.what] = line
    rows = [
        "# sampler_step: one solver step between two network evaluations",
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
        "",
        "Median time of one call in microseconds (20th to 80th percentile). Every implementation draws its noise and",
        "writes the next state and the prediction; float32. GB/s counts the bytes that must move: three reads, two",
        "writes. `threads` is what the call may use.",
        "",
        "| shape | threads | implementation | us | p20 - p80 | GB/s | speed-up | of copy |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (shape, threads), case in by_case.items():
        published, copy = case["published arithmetic"].times.median, case["copy of as many bytes"].times.median
        for what, line in case.items():
            t = line.times
            cells = f"{t.median:.1f} | {t.p20:.1f} - {t.p80:.1f} | {line.gigabytes_per_second:.1f}"
            ratios = f"{published / t.median:.1f} x | {copy / t.median:.2f}"
            rows.append(f"| {shape} | {threads or '-'} | {what} | {cells} | {ratios} |")
    return "\n".join(rows) + "\n"


def run(args: argparse.Namespace) -> int:
    device = torch.device(args.device)
    lines = list(measure_cuda()) if device.type == "cuda" else [x for n in args.threads for x in measure_cpu(n)]
    facts = surroundings(device)
    text = table(lines, facts)
    print(text)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"kernels_{device.type}.md").write_text(text)
    with (args.out / f"kernels_{device.type}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["op", "shape", "threads", "what", *Times.__dataclass_fields__, "gb_per_s", *facts])
        for line in lines:
            row = (
                line.op,
                line.shape,
                line.threads,
                line.what,
                *asdict(line.times).values(),
                line.gigabytes_per_second,
            )
            writer.writerow([*row, *facts.values()])
    return 0
