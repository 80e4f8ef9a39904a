"""The page of `python -m bench throughput`: what is asked of a run and what came out, then one row per run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.speed.throughput_runs import OneStudy, Run

OUTSIDE, FIRST_S, STUDY_S, STUDY_GPU_S, RESIDENT_MIB = 0.10, 6.0, 10.0, 0.5, 1536
_COLUMNS = (
    *("workers", "threads each", "studies/hour", "slices/s", "seconds", "first file, s"),
    *("start", "network", "waiting", "other", "MiB"),
)


def markdown(runs: Sequence[Run], study: OneStudy, facts: dict[str, str], device: str) -> str:
    """Facts, goals, times."""
    rows = [
        "# Throughput of whole runs",
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
        f"* a batch: {runs[0].studies} studies, {runs[0].slices} slices; device {device}",
        "",
        "Each worker is a `spectac correct` with the model and a part (`--shard`) of the batch; the workers share the",
        "threads. Time counts from the command to the end of the last worker, Python's start included. Shares of the",
        "workers' time: `start` (Python, torch, the model), `network` (inside the model), `waiting` (the model had",
        "nothing to do: reading and writing), `other`. `MiB`: the largest resident size of a worker.",
        "",
        "| goal | measured | verdict |",
        "| --- | --- | --- |",
        *_goals(runs, study, device),
        "",
        "| " + " | ".join(_COLUMNS) + " |",
        "|" + " ---: |" * len(_COLUMNS),
        *map(_row, runs),
    ]
    return "\n".join(rows) + "\n"


def _goals(runs: Sequence[Run], study: OneStudy, device: str) -> Iterator[str]:
    alone = next((run for run in runs if run.workers == 1), None)
    if alone is not None:
        outside = 1.0 - alone.network
        yield _goal(
            f"time outside the network at most {OUTSIDE:.0%} of a batch of 40 studies",
            f"{outside:.1%} of {alone.studies} studies, {outside - alone.start:.1%} without the start",
            outside <= OUTSIDE and alone.studies == 40,
        )
        yield _goal(f"first file within {FIRST_S:g} s of the command", f"{alone.first:.2f} s", alone.first <= FIRST_S)
    measured = f"{study.slices} slices: {study.command:.2f} s; {study.warm:.2f} s where the model is loaded"
    if device.startswith("cuda"):
        yield _goal(f"a study in {STUDY_GPU_S:g} s, model loaded", measured, study.warm <= STUDY_GPU_S)
    else:
        yield _goal(f"a study in {STUDY_S:g} s, start included", measured, study.command <= STUDY_S)
    largest = max(run.resident for run in runs)
    yield _goal(f"resident memory under {RESIDENT_MIB} MiB", f"{largest} MiB", 0 < largest < RESIDENT_MIB)


def _goal(goal: str, measured: str, reached: bool) -> str:
    return f"| {goal} | {measured} | {'reached' if reached else 'missed'} |"


def _row(run: Run) -> str:
    cells = (
        *(str(run.workers), str(run.threads), f"{run.studies_per_hour:.0f}", f"{run.slices_per_second:.1f}"),
        *(f"{run.seconds:.1f}", f"{run.first:.2f}", f"{run.start:.1%}", f"{run.network:.1%}"),
        *(f"{run.waited:.1%}", f"{run.other:.1%}", str(run.resident)),
    )
    return f"| {' | '.join(cells)} |"
