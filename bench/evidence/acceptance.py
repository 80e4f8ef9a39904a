"""The long tests of a night's work, one part after the other: what each has measured, as a page."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bench.outputs import write
from bench.speed.timing import surroundings
from spectac_fast.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
PARTS = {
    "crash": ("correct/test_resume.py", "a batch killed at random moments and resumed"),
    "fuzz": ("formats/test_fuzz.py", "damaged DICOM and weight files"),
    "hostile": ("data/test_hostile.py", "a thousand hostile inputs in one run"),
    "soak": ("correct/test_soak.py", "a thousand small studies in flat memory"),
    "whole": ("correct/test_soak_whole.py", "three hundred whole studies in flat memory"),
    "siege": ("node/test_siege.py", "a DICOM node beside two hundred hostile peers"),
    "spool": ("node/test_power_cut.py", "a DICOM node killed, or without room, at every step on the disk"),
    "archive": ("node/test_orthanc.py", "a real Orthanc, and a DICOM node that is killed"),
    "cluster": ("correct/test_ray.py", "a Ray cluster that loses a worker"),
    "checkpoints": ("checkpoints/test_matrix.py", "every configuration of published checkpoints that is imported"),
    "report": ("evaluate/report/test_report.py", "the report in a real browser"),
    "documents": ("house/test_docs.py", "every command and example of the documents as a process of its own"),
    "installed": (
        "bench/evidence/test_bench_installed.py",
        "a wheel that is built, in fresh environments of many versions",
    ),
    "compiled": ("ops/test_compiled.py", "every operator and solver by Inductor and as torch.export writes it"),
}
PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"


@dataclass(frozen=True)
class Case:
    """One test: its name, how it ended, why it did not run or failed, its seconds, and what it measured."""

    name: str
    outcome: str
    reason: str
    seconds: float
    figures: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """A part as it ran. facts: machine, commit and date."""

    facts: dict[str, str]
    cases: tuple[Case, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "bench/results/acceptance.md", help="the page")


def run(args: argparse.Namespace) -> int:
    unknown = [part for part in args.parts if part not in PARTS]
    if unknown:
        print(f"bench acceptance: expected parts of {', '.join(PARTS)}, found {unknown[0]!r}.", file=sys.stderr)
        return 2
    known = args.out.with_suffix(".json")
    try:
        results = load(known) if known.exists() else {}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UsageError(f"{known}: expected results of earlier parts, found something else.") from None
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for part in args.parts or PARTS:
        # Of the tree as it was when the tests began.
        facts = surroundings(torch.device("cpu"))
        results[part] = Result(facts, tuple(run_part(part)))
        write(known, json.dumps({name: asdict(each) for name, each in results.items()}, indent=1) + "\n")
        write(args.out, page(results))
    ended = {part: results[part].cases for part in args.parts or PARTS}
    cases = [case for each in ended.values() for case in each]
    for case in cases:
        if case.outcome != PASSED:
            print(f"{case.name}: {case.outcome}, {case.reason}", file=sys.stderr)
    print(f"{sum(case.outcome == PASSED for case in cases)} of {len(cases)} tests passed; {args.out}")
    return 0 if all(ended.values()) and all(case.outcome == PASSED for case in cases) else 1


def load(path: Path) -> dict[str, Result]:
    """Results of earlier runs: a part that is run again takes the place of its own only."""
    return {
        part: Result(
            each["facts"], tuple(Case(**{**case, "figures": tuple(case["figures"])}) for case in each["cases"])
        )
        for part, each in json.loads(path.read_text()).items()
    }


def run_part(part: str) -> list[Case]:
    """Run the long tests of one part; they print as they go."""
    file, what = PARTS[part]
    print(f"\n{part}: {what}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # The newer family of reports has no place for figures.
        options = ["-m", "night", "-o", "junit_family=xunit1", f"--junitxml={report}"]
        command = [sys.executable, "-m", "pytest", *options, f"tests/{file}"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"}, check=False)
        return cases_of(report.read_text()) if report.exists() else []


def cases_of(report: str) -> list[Case]:
    """The tests in a JUnit report of pytest."""
    cases = []
    for test in ElementTree.fromstring(report).iter("testcase"):
        ends = {kind: test.find(kind) for kind in ("failure", "error", "skipped")}
        kind, end = next(((kind, end) for kind, end in ends.items() if end is not None), ("", None))
        outcome = PASSED if end is None else NOT_RUN if kind == "skipped" else FAILED
        reason = "" if end is None else (end.get("message") or "").splitlines()[0][:200]
        figures = (item.get("value", "") for item in test.iter("property") if item.get("name") == "figures")
        name = test.get("name", "").removeprefix("test_").replace("_", " ")
        cases.append(Case(name, outcome, reason, float(test.get("time", "nan")), tuple(figures)))
    if not cases:
        raise ValueError("expected tests in the report, found none")
    return cases


def joined(cases: Sequence[Case]) -> list[Case]:
    """The cases; variants of one test that passed and say nothing more are one, where the first of them was."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        name, _, variant = case.name.partition("[")
        silent = variant and case.outcome == PASSED and not case.figures
        groups.setdefault(name if silent else case.name, []).append(case)
    return [
        each[0]
        if len(each) == 1
        else Case(f"{name}, {len(each)} variants", PASSED, "", sum(case.seconds for case in each), ())
        for name, each in groups.items()
    ]


def page(results: dict[str, Result]) -> str:
    """One row per test, or for all its silent variants, then where and when each part ran."""
    rows = [
        "# Acceptance of a night's work",
        "",
        "Made by `python -m bench acceptance [PART ...]`, which `make acceptance` runs too.",
        "",
        "| part | test | outcome | seconds | figures |",
        "| --- | --- | --- | ---: | --- |",
    ]
    for part, result in results.items():
        for case in joined(result.cases) or [Case("", FAILED, "no test came to its end", float("nan"), ())]:
            said = "; ".join([*case.figures, *([case.reason] if case.reason else [])])
            rows.append(f"| {part} | {case.name} | {case.outcome} | {case.seconds:.0f} | {said.replace('|', '/')} |")
    rows += ["", *(f"* {part}: {', '.join(result.facts.values())}" for part, result in results.items())]
    return "\n".join(rows) + "\n"
