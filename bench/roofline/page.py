"""The prediction as a page and as a table, beside the goals."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap

from bench.outputs import appearing
from bench.roofline.device import BANDWIDTH, LAUNCH_US, SOURCES
from bench.roofline.plans import plans
from bench.roofline.work import Predicted, elements
from bench.speed.case import COPY, Case
from bench.speed.report import goal_text, head, row

ABOUT = f"""\
Made by `python -m bench roofline`, from the machine code that nvcc makes of the kernels for sm_90 and the bytes
that they move. **No line here was measured**: the page says what a run on a GPU has to confirm or refute.
`needed`: bytes that the operator must read and write. `transferred`: what its launches read and write, what
they leave for each other included. `instructions`: per element, along the longest way through the machine code,
loops as often as the launch makes them turn: a bound from above, because what a branch leaves out counts where
it is the longer side. `bound by`: what takes longest in the slowest launch, of memory, of the four schedulers
(`issue`) and of each kind of instruction. `us`: the worst bound of every launch, added up; a GPU that is full
reaches that at best. `of copy`: beside a copy of the needed bytes at the same bandwidth. `launch ends at`:
elements at which that time is what the launches take to begin ({LAUNCH_US} us each): below, a call costs its
launches, and a CUDA graph pays.
"""

Results = Sequence[tuple[Case, list[Predicted]]]


def body_us(launches: Sequence[Predicted]) -> float:
    """One launch after the other, each as fast as its worst bound allows."""
    return sum(one.bounds[0].microseconds for one in launches)


def copy_us(case: Case) -> float:
    return case.moved / BANDWIDTH * 1e6


def instructions(launches: Sequence[Predicted], count: int) -> float:
    """Per element, of all threads; idle ones among them."""
    return sum(32 * one.launch.warps * one.counts.total() for one in launches) / count


def markdown(results: Results, facts: dict[str, str]) -> str:
    lines = [
        "# Kernels on an H200: predicted, never run",
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
        "",
        *wrap(ABOUT, 120),
        "",
        "The figures of the GPU:",
        "",
        *(f"* {source}" for source in SOURCES),
        "",
        "## Goals",
        "",
        *head("op", "size", "goal: at least", "predicted", "verdict"),
        *_goals(results),
        "",
        "## Operators",
        "",
        *head(
            "op",
            "size",
            "needed, B",
            "transferred, B",
            "instructions",
            "launches",
            "bound by",
            "us",
            "of copy",
            "launch ends at",
        ),
        *(_operator(case, launches) for case, launches in results),
        "",
        "## Launches",
        "",
        *head("op", "size", "kernel", "blocks x threads", "instructions of a thread", "us", "next bounds"),
    ]
    for case, launches in results:
        lines += [_launch(case, one) for one in launches]
    return "\n".join([*lines, "", *plans(results)]).rstrip("\n") + "\n"


def _goals(results: Results) -> Iterator[str]:
    for case, launches in results:
        for goal in case.goals:
            if goal.threads is not None:
                continue
            if goal.rival == COPY:
                share = copy_us(case) / body_us(launches)
                verdict = "within reach" if share >= goal.least else "out of reach"
                yield row(case.op, case.size, goal_text(goal), f"{100 * share:.0f} % of copy", verdict)
            else:
                yield row(case.op, case.size, goal_text(goal), "-", "open: the rival's code is not here")


def _operator(case: Case, launches: Sequence[Predicted]) -> str:
    count, body = elements(case), body_us(launches)
    slowest = max(launches, key=lambda one: one.bounds[0].microseconds)
    transferred = sum(one.launch.transferred for one in launches)
    ends = count * len(launches) * LAUNCH_US / body
    return row(
        case.op,
        case.size,
        f"{case.moved / count:.1f}",
        f"{transferred / count:.1f}",
        f"{instructions(launches, count):.0f}",
        str(len(launches)),
        slowest.bounds[0].kind,
        f"{body:.1f}",
        f"{100 * copy_us(case) / body:.0f} %",
        f"{ends / 1e6:.2g} million" if ends >= 1e5 else f"{ends / 1e3:.2g} thousand",
    )


def _launch(case: Case, one: Predicted) -> str:
    first, *others = one.bounds
    beside = ", ".join(f"{bound.kind} {bound.microseconds:.1f}" for bound in others[:2])
    return row(
        case.op,
        case.size,
        one.launch.kernel,
        f"{one.launch.blocks} x {one.launch.threads}",
        f"{one.counts.total():.0f}",
        f"{first.microseconds:.1f} ({first.kind})",
        beside,
    )


def write_csv(path: Path, results: Results, facts: dict[str, str]) -> None:
    """The launches, unrounded, each row with all facts."""
    kinds = sorted(bound.kind for bound in results[0][1][0].bounds)
    with appearing(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        columns = ["op", "size", "elements", "needed", "kernel", "blocks", "threads", "transferred", "instructions"]
        writer.writerow([*columns, *(f"{kind}, us" for kind in kinds), *facts])
        for case, launches in results:
            for one in launches:
                launch, times = one.launch, {bound.kind: bound.microseconds for bound in one.bounds}
                start = case.op, case.size, elements(case), case.moved, launch.kernel, launch.blocks, launch.threads
                numbers = launch.transferred, one.counts.total(), *(times[kind] for kind in kinds)
                writer.writerow([*start, *numbers, *facts.values()])
