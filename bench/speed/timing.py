"""How long calls take that do the same work: interleaved rounds, so that whatever slows the machine slows them all."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from bench.speed.case import Call
from spectac_fast.evaluate.provenance import commit, machine


@dataclass(frozen=True)
class Sampler:
    """sample: runs a call and returns the microseconds it took. note: what is unusual about how it is timed."""

    sample: Callable[[], float]
    note: str = ""


SHORTEST = 500.0  # microseconds; calls that are faster are repeated within one sample


@dataclass(frozen=True)
class Times:
    """Microseconds of one call: fastest, 20th, 50th and 80th percentile over the rounds."""

    fastest: float
    p20: float
    median: float
    p80: float


def quantiles(samples: Sequence[float]) -> Times:
    ordered = sorted(samples)
    at = [ordered[round(q * (len(ordered) - 1))] for q in (0.0, 0.2, 0.5, 0.8)]
    return Times(*at)


def ratio(slower: Sequence[float], faster: Sequence[float]) -> float:
    """How many times longer the first takes: the median over the rounds, each with its own ratio."""
    return statistics.median(a / b for a, b in zip(slower, faster))


def cpu_sampler(call: Call) -> Sampler:
    """Times a call with the wall clock. Calls it twice here, so that what is done once is done."""
    call()
    repeats = 1

    def sample() -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - start) * 1e6 / repeats

    repeats = max(1, round(SHORTEST / max(sample(), 0.1)))
    return Sampler(sample)


def cuda_sampler(calls: Sequence[Call]) -> Sampler:
    """Times calls that do the same on different buffers, which keeps the second-level cache cold; the time of one.

    They are captured into one graph, so that launching costs nothing. What cannot be captured, because it waits for the
    GPU or does not use it, is launched call by call, and the note says so.
    """
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            for call in calls:
                call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with warnings.catch_warnings(), torch.cuda.graph(graph, stream=stream):
            warnings.filterwarnings("error", message=".*CUDA Graph is empty")
            for call in calls:
                call()
        replay, note = graph.replay, ""
    except (RuntimeError, UserWarning):
        torch.cuda.synchronize()
        replay, note = partial(_one_by_one, calls), "launched call by call"

    def sample() -> float:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        replay()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e3 / len(calls)

    return Sampler(sample, note)


def _one_by_one(calls: Sequence[Call]) -> None:
    for call in calls:
        call()


def interleave(
    samplers: Mapping[str, Sampler], *, seconds: float = 2.0, least: int = 5, most: int = 200
) -> dict[str, list[float]]:
    """One sample of each in turn, for about so long: name -> microseconds, one per round."""
    samples: dict[str, list[float]] = {name: [] for name in samplers}
    end = time.perf_counter() + seconds
    for done in range(most):
        if done >= least and time.perf_counter() > end:
            break
        for name, sampler in samplers.items():
            samples[name].append(sampler.sample())
    return samples


def surroundings(device: torch.device) -> dict[str, str]:
    """Everything a number needs beside it."""
    return {"machine": machine(device), "commit": commit(), "date": time.strftime("%Y-%m-%d")}
