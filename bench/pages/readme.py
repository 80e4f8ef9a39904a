"""Copies the committed results into README, the pages of results and the model card.

What stands between a pair of markers is made here.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from bench.limited import FACT
from bench.outputs import write
from bench.pages.card import CARD, trust
from bench.pages.evidence import measured, named, segments
from bench.pages.front import front

ROOT = Path(__file__).parents[2]
README, RESULTS = ROOT / "README.md", ROOT / "bench" / "results"
PAGES = (README, CARD, *sorted((ROOT / "docs" / "pages" / "results").glob("*.md")))
NOT_YET = "not yet run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="only say, by the exit status, whether they are current")


def run(args: argparse.Namespace) -> int:
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    current = {page: filled(text) for page, text in texts.items()}
    if args.check:
        return int(current != texts)
    for page, text in current.items():
        write(page, text)
    return 0


def filled(text: str) -> str:
    """A page with every block made anew from the results; KeyError for a marker that names none."""
    pattern = re.compile(r"(<!-- python -m bench readme: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda found: found[1] + "\n".join(["", *BLOCKS[found[2]](), "", ""]) + found[3], text)


def section(path: Path, title: str) -> list[str]:
    """The lines under a heading of a page, without blank ones at its ends; none where there is no such page."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if f"## {title}" not in lines:
        return []
    rest = lines[lines.index(f"## {title}") + 1 :]
    end = next((i for i, line in enumerate(rest) if line.startswith("## ")), len(rest))
    return "\n".join(rest[:end]).strip("\n").splitlines()


def _kernels() -> Iterable[str]:
    """The goals on a CPU, a column for every machine that has a page."""
    reached: dict[tuple[str, ...], dict[str, str]] = {}
    for page in sorted(RESULTS.glob("kernels_cpu*.md")):
        for line in section(page, "Goals")[2:]:
            *case, measured, verdict = (cell.strip() for cell in line.strip("|").split("|"))
            if NOT_YET not in verdict:
                said = measured if verdict == "reached" else f"{measured}, {verdict}"
                reached.setdefault(tuple(case), {})[_machine(page)] = said
    machines = list(dict.fromkeys(name for of in reached.values() for name in of))
    rows = [[*case, *(of.get(name, "") for name in machines)] for case, of in reached.items()]
    head = ["op", "size", "threads", "goal: at least", *machines]
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def _machine(page: Path) -> str:
    """The processor that a page of kernels is of, and what it was limited to."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r"^\* machine: (.*?),", text, re.MULTILINE)
    name = re.sub(r"\((R|TM)\)| Processor", "", found[1] if found else page.stem)
    limit = re.search(rf"^\* {FACT}: (.*?),", text, re.MULTILINE)
    return name.strip() + (f", {limit[1]} alone" if limit else "")


def _latency() -> Iterable[str]:
    """The goals of the CPU's page, and those of the GPU's where there is one."""
    pages = RESULTS / "latency_cpu.md", RESULTS / "latency_cuda.md"
    cpu, cuda = (section(page, "Goals") for page in pages)
    if cuda:
        cpu = [line for line in cpu if "| GPU |" not in line] + [line for line in cuda if "| GPU |" in line]
    if not cpu:
        return ["Not measured yet."]
    return [*cpu, "", "Every row: " + ", ".join(named(page) for page in pages if page.is_file()) + "."]


def _quality() -> Iterable[str]:
    page = RESULTS / "quality-cost" / "table_cpu.md"
    short = section(page, "In short")
    if not short:
        return ["Not measured yet."]
    sentences = [line for line in short if line.startswith("*")]
    more = f"Every solver, the definitions, distilled coefficients, slices of a stack: {named(page)}."
    curve = page.with_name("curve.md")
    if curve.is_file():
        more += f" What the draw of t in training is worth: {named(curve)}."
    return [*sentences, "", more, "", "![Quality against network evaluations](../pictures/evaluations.png)"]


def _table() -> Iterable[str]:
    """The shipped model's rows beside NC, AC and the best row without a network, from `spectac evaluate`'s table."""
    page = RESULTS / "quality" / "table.md"
    lines = []
    for title in ("Whole field", "Heart region", "17 segments"):
        rows = section(page, title)
        # An explanation stands before some tables, and the rows of other methods have a table of their own.
        rows = [row for row in rows if row.startswith(("| row", "| ---", "| NC", "| AC", "| linear", "| bbdm"))]
        lines += [f"{title}:", "", *rows, ""]
    return [*lines, f"Conventions and every row: {named(page)}."] if lines else ["Not measured yet."]


def _comparison() -> Iterable[str]:
    """A row for every method whose training is finished, the heart region: where targets clipped for bounded networks
    cost nothing.
    """
    page, picture = (RESULTS / "table1-trained" / name for name in ("table.md", "panel.png"))
    head = [line for line in section(page, "Heart region") if line.startswith("|")]
    if not head:
        return ["Not made yet."]
    rows = head[2:]
    combined = {_method(row) for row in rows if "planes combined" in row}
    shown = [row for row in rows if "planes combined" in row or _method(row) not in combined]
    more = f"Whole field, samples, segments, tests, what each model is, the published table: {named(page)};"
    return [*head[:2], *shown, "", more, f"every method on one patient: {named(picture)}."]


def _published() -> Iterable[str]:
    """The table of every machine that has been measured beside the published code."""
    for page in sorted(RESULTS.glob("published*/published.md")):
        lines = page.read_text(encoding="utf-8").splitlines()
        machine = next(line.removeprefix("- ") for line in lines if line.startswith("- "))
        yield from (f"{machine} ({named(page)}):", "")
        yield from (*(line for line in lines if line.startswith("|")), "")


def _method(row: str) -> str:
    """The method of a table's row: what stands before its first comma."""
    return row.removeprefix("| ").split(" |")[0].split(",")[0]


BLOCKS: dict[str, Callable[[], Iterable[str]]] = {
    "front": front,
    "kernels": _kernels,
    "latency": _latency,
    "quality": _quality,
    "table": _table,
    "comparison": _comparison,
    "published": _published,
    "segments": segments,
    "measured": measured,
    "trust": trust,
}
