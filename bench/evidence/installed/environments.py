"""The wheel in fresh environments: Pythons, torch, numpy and pydicom from the oldest that are promised to the newest.

One environment after the other; what an environment was found to be is kept in build/installed until the wheel or the
environment's definition changes, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, fields
from pathlib import Path

from bench.evidence.acceptance import ROOT
from bench.evidence.installed.fresh import ENVIRONMENTS, STANDARD, Found, found_in
from bench.evidence.installed.wheels import WORK
from bench.outputs import write
from spectac_fast.errors import UsageError

PACKAGES = ("torch", "numpy", "pydicom", "scipy", "scikit-image", "matplotlib", "pillow", "safetensors", "triton")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ENVIRONMENTS)} (default: all)")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "bench/results/environments.md", help="the page")


def run(args: argparse.Namespace) -> int:
    unknown = [name for name in args.names if name not in ENVIRONMENTS]
    if unknown:
        raise UsageError(f"names: expected environments of {', '.join(ENVIRONMENTS)}, found {unknown[0]!r}.")
    known = args.out.with_suffix(".json")
    rows = load(known) if known.exists() else {}
    # The others are compared with what the first corrects.
    for name in args.names or ENVIRONMENTS:
        rows[name] = found_in(ENVIRONMENTS[name], WORK)
        print(f"{name}: {rows[name].failed or rows[name].absent or 'passed'}", file=sys.stderr, flush=True)
        ordered = {each: rows[each] for each in ENVIRONMENTS if each in rows}
        write(known, json.dumps({each: asdict(row) for each, row in ordered.items()}, indent=1) + "\n")
        write(args.out, page(ordered))
    return 1 if any(rows[name].failed for name in args.names or ENVIRONMENTS) else 0


def load(path: Path) -> dict[str, Found]:
    """Rows of earlier runs: an environment that is run again takes the place of its own only.

    Raises:
        UsageError: the file holds something else.
    """
    try:
        held = json.loads(path.read_text())
        return {name: Found(**{field.name: row[field.name] for field in fields(Found)}) for name, row in held.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UsageError(f"{path}: expected rows of earlier environments, found something else.") from None


def page(rows: dict[str, Found]) -> str:
    """A row per environment, then what else was installed in each."""
    lines = [
        "# Installed afresh",
        "",
        "Made by `python -m bench environments`: the wheel of [wheels.md](wheels.md), in an environment of its own for",
        f"each row. Corrected files are compared, byte by byte, with those of the environment `{STANDARD}`.",
        "",
        "| environment | Python | torch | numpy | pydicom | pip check | compiled ops | tests | corrected demo study |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        versions = [row.versions.get(package, "-") for package in ("Python", "torch", "numpy", "pydicom")]
        if row.absent:
            said = [f"could not be had here: {row.absent}", "-", "-", "-"]
        elif row.failed:
            said = [f"failed: {row.failed}", "-", "-", "-"]
        else:
            said = [row.fits, row.operators, row.tests, row.corrected]
        lines.append(f"| {name} | {' | '.join(word.replace('|', '/') for word in versions + said)} |")
    lines += ["", "What each environment is for, and what else it held:", ""]
    for name, row in rows.items():
        others = [f"{package} {row.versions[package]}" for package in PACKAGES[3:] if package in row.versions]
        lines.append(f"* {name}: {'; '.join([ENVIRONMENTS[name].what, *filter(None, [', '.join(others)])])}")
    lines += ["", *(f"* {name}: {', '.join(row.facts.values())}" for name, row in rows.items())]
    return "\n".join(lines) + "\n"
