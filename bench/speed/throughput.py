"""Studies per hour of whole `spectac correct` commands, for several workers, and where their time goes."""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path

import torch

from bench.evidence.soak import soak
from bench.evidence.studies import write_studies
from bench.outputs import appearing, write
from bench.speed.throughput_page import markdown
from bench.speed.throughput_runs import OneStudy, Run
from bench.speed.timing import surroundings

RESULTS = Path(__file__).parents[1] / "results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser.add_argument("-m", "--model", default="bbdm", help="name or file (default: bbdm)")
    parser.add_argument("-d", "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--studies", type=int, default=40, help="of 174 slices (default: 40)")
    parser.add_argument("--workers", type=numbers, default=[1, 2, 4], help="processes (default: 1,2,4)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="of the CPU, shared by the processes (default: all)"
    )
    parser.add_argument("--soak", type=int, metavar="N", help="instead: memory over N small studies in one process")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    args.out.mkdir(parents=True, exist_ok=True)
    facts = {**surroundings(torch.device(args.device)), "model": str(args.model)}
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        if args.soak:
            return _soak(args, Path(folder), facts)
        slices = write_studies(Path(folder) / "in", args.studies)
        runs = []
        for workers in args.workers:
            runs.append(batch(Path(folder), slices, workers, args))
            one = runs[-1]
            print(
                f"{workers} workers: {one.studies_per_hour:.0f} studies/hour, {one.slices_per_second:.1f} slices/s, "
                f"{one.network:.0%} in the network, {one.waited:.1%} waiting",
                flush=True,
            )
        study = one_study(Path(folder) / "in" / "00000", Path(folder) / "one", args)
    target = args.out / f"throughput_{args.device.partition(':')[0]}"
    write(target.with_suffix(".md"), markdown(runs, study, facts, args.device))
    write_csv(target.with_suffix(".csv"), runs, facts)
    print(target.with_suffix(".md").read_text())
    return 0


def batch(folder: Path, slices: int, workers: int, args: argparse.Namespace) -> Run:
    """Correct everything in `folder`/in with so many processes at once."""
    out = folder / f"out-{workers}"
    threads = max(1, args.threads // workers)
    started = time.perf_counter()
    with ThreadPoolExecutor(workers + 1) as pool:
        first = pool.submit(_first_file, out, started)
        jobs = [
            pool.submit(
                _command, folder / "in", out, threads, args, f"{k + 1}/{workers}", folder / f"{workers}-{k}.json"
            )
            for k in range(workers)
        ]
        ended = [job.result() for job in jobs]
        seconds = time.perf_counter() - started
    walls, reports = zip(*ended)
    total = sum(walls)
    return Run(
        workers,
        threads,
        sum(report["studies_corrected"] for report in reports),
        slices,
        seconds,
        first.result(),
        start=sum(wall - report["seconds"] for wall, report in ended) / total,
        network=sum(report["seconds_in_model"] for report in reports) / total,
        waited=sum(report["seconds_model_waited"] for report in reports) / total,
        resident=max(report["largest_resident_mib"] or 0 for report in reports),
    )


def one_study(source: Path, out: Path, args: argparse.Namespace) -> OneStudy:
    """One study by the command, then by a `Corrector` that has corrected it before: the median of three."""
    from spectac_fast import Corrector

    wall, report = _command(source, out, args.threads, args, "1/1", out.with_suffix(".json"))
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    corrector, seconds = Corrector(args.model, device=args.device), []
    for _ in range(4):
        started = time.perf_counter()
        for _ in corrector.map([source]):
            pass
        seconds.append(time.perf_counter() - started)
    torch.set_num_threads(before)
    return OneStudy(report["slices_corrected"], wall, statistics.median(seconds[1:]))


def _command(
    source: Path, out: Path, threads: int, args: argparse.Namespace, shard: str, report: Path
) -> tuple[float, dict]:
    """Wall-clock seconds of one `spectac correct`, and its report; raises where it does not end with status 0."""
    words = ["correct", "-i", source, "-o", out, "-m", args.model, "-d", args.device, "--shard", shard]
    command = [sys.executable, "-m", "spectac_fast.cli", *map(str, words), "--report", str(report), "--progress", "off"]
    started = time.perf_counter()
    ended = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - started
    if ended.returncode:
        raise RuntimeError(f"spectac ended with status {ended.returncode}: {ended.stderr[-500:]}")
    return wall, json.loads(report.read_text())


def _first_file(out: Path, started: float) -> float:
    """Seconds until a corrected file is in its place; nan after ten minutes without."""
    while (seconds := time.perf_counter() - started) < 600:
        if next(out.rglob("*_DL-AC.dcm"), None) is not None:
            return seconds
        time.sleep(0.02)
    return float("nan")


def _soak(args: argparse.Namespace, folder: Path, facts: dict[str, str]) -> int:
    watched = soak(folder, args.soak, model=args.model, device=args.device)
    rows = ["# Memory over a long run", "", *(f"* {name}: {value}" for name, value in facts.items()), ""]
    write(args.out / f"soak_{args.device.partition(':')[0]}.md", "\n".join([*rows, f"{watched.figures()}.", ""]))
    print(watched.figures())
    return 0 if watched.exit_code == 0 and watched.written == args.soak else 1


def write_csv(path: Path, runs: Sequence[Run], facts: dict[str, str]) -> None:
    """The same numbers unrounded, each row with all facts."""
    with appearing(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(field.name for field in fields(Run)), *facts])
        writer.writerows([*asdict(run).values(), *facts.values()] for run in runs)
