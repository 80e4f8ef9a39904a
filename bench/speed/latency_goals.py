"""Which latency rows are measured, and what the project wants of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.quality.summary import fewest
from bench.speed.workloads import PAPER, PAPER_WHOLE
from spectac_fast.models.translators.bridge import FITTED, BridgeTranslator

NATIVE = "bbdm"
PUBLISHED_STEPS = 200
FILL_IN = {"cuda": "`bench/gpu.sh`", "cpu": "`python -m bench latency --device cpu`"}
"""What measures the rows of a device kind."""


@dataclass(frozen=True)
class Case:
    """One row: a model at a batch size, by so many evaluations, against so many of the published sampler.

    dtype: of the body of our network; theirs is float32. solver: by its name in solvers.py; None is the weights' own.
    """

    model: str
    batch: int
    steps: int
    published_steps: int
    dtype: str = "float32"
    solver: str | None = None


@dataclass(frozen=True)
class Sample:
    """How one sample is drawn: network evaluations, and the solver's name in solvers.py."""

    evaluations: int
    solver: str


def equal_sample(measured: Path, translator: BridgeTranslator) -> Sample | None:
    """The fewest evaluations, and their solver, that sample as the published 200 do, as `bench quality` found it.

    measured: its result. None where there is none of these weights, or it found none. What was fitted there counts if
    the weights hold it.
    """
    found = json.loads(measured.read_text()) if measured.is_file() else {}
    if "rows" not in found or not found["facts"]["model"].endswith(f" {translator.weights_sha256[:12]}"):
        return None
    usable = [row for row in found["rows"] if row["solver"] != FITTED or row["evaluations"] in translator.fitted]
    best = fewest(usable, "sample")
    return best and Sample(best["evaluations"], best["solver"])


@dataclass(frozen=True)
class Goal:
    """`value` of the row of a case on a device kind must be at least, or with `most` at most, so much."""

    name: str
    device: str
    case: Case
    value: str
    limit: float
    most: bool = False


def goals(default: int, sample: int, equal: Sample | None) -> tuple[Goal, ...]:
    """All goals.

    default, sample: network evaluations of the native model's default estimate and of a sample as its weights draw it.
    equal: the cheapest sample of equal quality (`equal_sample`), which is measured beside the weights' own.
    """

    def native(batch: int, steps: int, solver: str | None = None) -> Case:
        return Case(NATIVE, batch, steps, PUBLISHED_STEPS, solver=solver)

    def samples(device: str, limits: dict[int, float]) -> Iterator[Goal]:
        for batch, limit in limits.items():
            if equal:
                called = f"a sample, fewest evaluations ({equal.evaluations}, {equal.solver})"
                case = native(batch, equal.evaluations, equal.solver)
                yield Goal(f"{quality}, {called}, batch {batch}", device, case, "ratio", limit)
            called = f"a sample, the weights' settings ({sample} evaluations)"
            yield Goal(f"{quality}, {called}, batch {batch}", device, native(batch, sample), "ratio", limit)

    def paper(batch: int, dtype: str = "float32") -> Case:
        return Case(PAPER, batch, 3, 3, dtype)

    long, whole = native(1, PUBLISHED_STEPS), Case(PAPER_WHOLE, 64, 6, 6)
    # Of a throughput the share of the published sampler's 200 steps tells nothing, and they would take minutes.
    many = Case(NATIVE, 64, default, default)
    same, quality = "same steps, LBBDM-f8 sizes", "equal quality, native 64"
    one = f"{quality}, the default ({default} evaluation{'s' * (default > 1)})"
    return (
        Goal(f"{same}, batch 1", "cpu", paper(1), "ratio", 1.4),
        Goal(f"{same}, batch 8", "cpu", Case(PAPER, 8, 1, 1), "ratio", 1.05),
        Goal("outside the network, 200 steps, %", "cpu", long, "outside", 2.0, most=True),
        Goal(f"{one}, batch 1", "cpu", native(1, default), "ratio", 40.0),
        Goal(f"{one}, batch 8", "cpu", native(8, default), "ratio", 30.0),
        *samples("cpu", {1: 40.0, 8: 30.0}),
        Goal("native 64, the default, one slice, ms", "cpu", native(1, default), "median", 60.0, most=True),
        Goal("native 64, the default, slices/s", "cpu", many, "slices_per_s", 40.0),
        Goal(f"{same}, batch 1", "cuda", paper(1), "ratio", 3.0),
        Goal(f"{same}, batch 64", "cuda", paper(64), "ratio", 1.3),
        Goal(f"{same}, batch 1, bf16 body", "cuda", paper(1, "bfloat16"), "ratio", 5.0),
        Goal(f"{same}, batch 64, bf16 body", "cuda", paper(64, "bfloat16"), "ratio", 2.5),
        Goal("outside the network, 200 steps, %", "cuda", long, "outside", 2.0, most=True),
        *samples("cuda", {1: 150.0, 64: 80.0}),
        Goal("native 64, the default, one slice, ms", "cuda", native(1, default), "median", 3.0, most=True),
        Goal("native 64, the default, slices/s", "cuda", many, "slices_per_s", 5000.0),
        Goal("LBBDM-f8 with VQGAN, 256x256, 6 evaluations, ms", "cuda", whole, "median", 8.0, most=True),
    )


def standard(device: str, wanted: Sequence[Goal]) -> list[Case]:
    """The rows that the goals of a device kind need, each once, and one that is only reported."""
    cases = dict.fromkeys(goal.case for goal in wanted if goal.device == device)
    if device == "cpu":
        cases[Case(PAPER_WHOLE, 1, 6, 6)] = None
    return list(cases)


def judged(
    wanted: Sequence[Goal], device: str, value_of: Callable[[Case, str], float | None]
) -> Iterator[tuple[str, str, str, str, str]]:
    """(goal, device, limit, measured, verdict) of every goal; value_of: None where a case was not measured."""
    for goal in wanted:
        limit = f"{'at most' if goal.most else 'at least'} {goal.limit:g}"
        value = value_of(goal.case, goal.value) if goal.device == device else None
        where = {"cpu": "CPU, 2 threads", "cuda": "GPU"}[goal.device]
        if value is None or value != value:
            yield (
                goal.name,
                where,
                limit,
                "-",
                "not measured" if goal.device == device else f"not yet run: {FILL_IN[goal.device]}",
            )
            continue
        missed = value / goal.limit - 1.0 if goal.most else 1.0 - value / goal.limit
        yield goal.name, where, limit, f"{value:.3g}", "reached" if missed <= 0 else f"missed by {100 * missed:.0f} %"
