"""How long a call takes, and on what: median and quantiles on fresh or rotating data, machine, versions and commit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from spectac_fast.evaluate.provenance import commit, machine


@dataclass(frozen=True)
class Times:
    """Microseconds of one call: fastest, 20th, 50th and 80th percentile."""

    fastest: float
    p20: float
    median: float
    p80: float


def quantiles(samples: list[float]) -> Times:
    ordered = sorted(samples)
    at = [ordered[round(q * (len(ordered) - 1))] for q in (0.0, 0.2, 0.5, 0.8)]
    return Times(*at)


def time_cpu(call: Callable[[], object], *, seconds: float = 0.5, least: int = 20) -> Times:
    """Repeat a call for about so long; every repetition is timed on its own."""
    call()
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < least or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        samples.append((time.perf_counter() - start) * 1e6)
    return quantiles(samples)


def time_cuda(calls: list[Callable[[], object]], *, replays: int = 200) -> Times:
    """Time calls that do the same on different buffers, so that the second-level cache is cold.

    All calls are captured into one graph, so that launching costs nothing; the time is that of one call.
    """
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            for call in calls:
                call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for call in calls:
            call()
    samples: list[float] = []
    for _ in range(replays):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        samples.append(begin.elapsed_time(end) * 1e3 / len(calls))
    return quantiles(samples)


def surroundings(device: torch.device) -> dict[str, str]:
    """Everything a number needs beside it."""
    return {"machine": machine(device), "commit": commit(), "date": time.strftime("%Y-%m-%d")}
