"""What the measurements of the operators say, as a page and as a table: times, ratios, and which goals are reached."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from bench.outputs import appearing
from bench.speed.case import COPY, Case, Goal
from bench.speed.timing import Times

OURS = "ours"


@dataclass(frozen=True)
class Measured:
    """One case as it ran.

    threads: of the CPU; None on a GPU. times: of every implementation that ran, `OURS` and `COPY` among them.
    advantage: how many times longer each takes than ours. missing: rivals that did not run -> why. notes: how
    some were timed.
    """

    case: Case
    threads: int | None
    times: dict[str, Times]
    advantage: dict[str, float]
    missing: dict[str, str]
    notes: dict[str, str] = field(default_factory=dict)


def line(measured: Measured) -> str:
    """Progress: one case, ours against each."""
    against = ", ".join(f"{name} {times:.2f}x" for name, times in measured.advantage.items() if name != OURS)
    where = f"{measured.threads} threads" if measured.threads else "GPU"
    ours = measured.times[OURS].median
    return f"{measured.case.op} {measured.case.size}, {where}: {ours:.1f} us; {against}"


def judge(measured: Measured, goal: Goal) -> tuple[str, str]:
    """(what was measured, the verdict) for a goal of this case on this device."""
    members = measured.case.groups.get(goal.rival, (goal.rival,))
    present = {name: measured.advantage[name] for name in members if name in measured.advantage}
    absent = [name for name in members if name not in present]
    if not present:
        return "-", "open, missing: " + "; ".join(f"{n}, {measured.missing.get(n, 'not a rival')}" for n in absent)
    name, value = min(present.items(), key=lambda item: item[1])
    verdict = "reached" if value >= goal.least else f"missed by {100 * (1 - value / goal.least):.0f} %"
    if absent:
        verdict += f", without {', '.join(absent)}"
    if goal.rival == COPY:
        return f"{100 * value:.0f} %", verdict
    return f"{value:.1f} x" + (f" ({name})" if len(members) > 1 else ""), verdict


def goal_text(goal: Goal) -> str:
    if goal.rival == COPY:
        return f"{100 * goal.least:.0f} % of copy"
    return f"{goal.least:g} x {goal.rival}"


def goal_rows(results: Sequence[Measured], on_gpu: bool) -> Iterator[str]:
    """One row per goal; those of a GPU, on a machine without one, once each and as not yet run."""
    waiting: dict[tuple[str, str, Goal], None] = {}
    for measured in results:
        for goal in measured.case.goals:
            if goal.threads == measured.threads:
                cells = *judge(measured, goal), str(goal.threads or "GPU")
                yield row(measured.case.op, measured.case.size, cells[2], goal_text(goal), *cells[:2])
            elif goal.threads is None and not on_gpu:
                waiting[measured.case.op, measured.case.size, goal] = None
    for op, size, goal in waiting:
        yield row(op, size, "GPU", goal_text(goal), "-", "not yet run")


def time_rows(measured: Measured) -> Iterator[str]:
    """One row per implementation, then one per missing rival."""
    case = measured.case
    start = case.op, case.size, str(measured.threads or "GPU")
    for name, t in measured.times.items():
        rate, advantage = case.moved / t.median / 1e3, measured.advantage[name]
        of_copy = measured.advantage[COPY] / advantage
        spread = f"{t.p20:.1f} - {t.p80:.1f}"
        called = f"{name}, {measured.notes[name]}" if name in measured.notes else name
        yield row(*start, called, f"{t.median:.1f}", spread, f"{rate:.2f}", f"{of_copy:.0%}", f"{advantage:.2f} x")
    for name, why in measured.missing.items():
        yield row(*start, name, "-", "-", "-", "-", f"missing: {why}")


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def head(*names: str) -> list[str]:
    return [row(*names), row(*("---" for _ in names))]


def markdown(results: Sequence[Measured], facts: dict[str, str], on_gpu: bool) -> str:
    """The page: facts, goals, times."""
    rows = [
        "# Fused operators against their rivals",
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
        "",
        "All implementations of a case get the same inputs and threads and, where they take them, outputs made before,",
        "and run in turn, round by round. `us`: median time of one call in microseconds, and 20th to 80th percentile.",
        "`GB/s`: the bytes that must move, divided by that time. `copy` moves as many between two buffers made before,",
        "and `of copy` compares with it. `time / ours`: how many times as long as ours it takes, the median of the",
        "rounds' own ratios.",
        "",
        "## Goals",
        "",
        *head("op", "size", "threads", "goal: at least", "measured", "verdict"),
        *goal_rows(results, on_gpu),
        "",
        "## Times",
        "",
        *head("op", "size", "threads", "implementation", "us", "p20 - p80", "GB/s", "of copy", "time / ours"),
    ]
    for measured in results:
        rows += time_rows(measured)
    return "\n".join(rows) + "\n"


def write_csv(path: Path, results: Sequence[Measured], facts: dict[str, str]) -> None:
    """The same numbers unrounded, each row with all facts; missing rivals have a reason and no times."""
    columns = [f.name for f in fields(Times)]
    with appearing(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["op", "size", "threads", "what", *columns, "bytes", "gb_per_s", "advantage", "missing", *facts]
        )
        for one in results:
            start = one.case.op, one.case.size, one.threads or "GPU"
            for name, t in one.times.items():
                rate = one.case.moved / t.median / 1e3
                numbers = *asdict(t).values(), one.case.moved, rate, one.advantage[name], ""
                writer.writerow([*start, name, *numbers, *facts.values()])
            for name, why in one.missing.items():
                writer.writerow([*start, name, *([""] * (len(columns) + 3)), why, *facts.values()])
