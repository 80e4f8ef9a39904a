"""One fresh environment: the wheel goes in, and whatever a user or a test would do with it is done there."""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from pydicom import dcmread

from bench.evidence.acceptance import ROOT
from bench.evidence.installed.steps import (
    AbsentError,
    Interpreter,
    StepError,
    copied,
    fingerprint,
    interpreter,
)
from bench.evidence.installed.wheels import CONSTRAINTS, built, installed, wheel
from bench.outputs import write
from bench.speed.timing import surroundings

STANDARD = "standard"
# Compiled operators against plain torch, reading of DICOM, a study from its files to corrected ones.
TESTS = (
    "tests/ops/test_sampler_step.py",
    "tests/ops/test_project.py",
    "tests/formats/test_dicom_read.py",
    "tests/correct/test_correct.py",
)
# What is of compilers and interpreters, takes minutes and has no part in an installation.
CHOSEN = "not emulated and not triton and not opcheck and not compiles"
UNPACK = "import sys; from pathlib import Path; from spectac_fast.data.demo import unpack; unpack(Path(sys.argv[1]))"


@dataclass(frozen=True)
class Environment:
    """pins: what pip is asked for beside the wheel; constraints: whether constraints.txt says the rest."""

    what: str
    python: str
    pins: tuple[str, ...] = ()
    constraints: bool = False


def oldest() -> tuple[str, ...]:
    """Every dependency at the version that pyproject.toml names as its least."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return tuple(re.match(r"[\w.-]+>=[\w.]+", line)[0].replace(">=", "==") for line in wanted)


ENVIRONMENTS = {
    STANDARD: Environment("the versions of constraints.txt", "3.11", constraints=True),
    "numpy-1.26": Environment(
        "the standard torch beside numpy 1.26 and pydicom 3.0.0",
        "3.11",
        ("torch==2.13.0", "numpy==1.26.4", "pydicom==3.0.0"),
    ),
    "oldest": Environment("every dependency at the least version that pyproject.toml names", "3.11", oldest()),
    "python-3.12": Environment("the newest of everything that the index gives", "3.12"),
    "python-3.13": Environment("the newest of everything that the index gives", "3.13"),
    "python-3.14": Environment("the newest of everything that the index gives", "3.14"),
}


@dataclass(frozen=True)
class Found:
    """What an environment was found to be. absent: why it could not be had; failed: the step that did not pass.

    versions: of Python and of all that is installed; the other texts are of `pip check`, of the operators that run
    compiled, of the tests, and of corrected files beside those of the standard environment.
    """

    key: str
    facts: dict[str, str]
    absent: str = ""
    failed: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    fits: str = ""
    operators: str = ""
    tests: str = ""
    corrected: str = ""


def machine() -> dict[str, str]:
    """Where and when; and what this machine's settings keep the installer from, which is then not the newest."""
    held = os.environ.get("UV_CONSTRAINT", "")
    lines = [line.partition("#")[0].strip() for path in held.split() for line in Path(path).read_text().splitlines()]
    limits = {"limits": f"held to {' '.join(filter(None, lines))}"} if any(lines) else {}
    return surroundings(torch.device("cpu")) | limits


def found_in(environment: Environment, work: Path) -> Found:
    """Install and try the wheel there, unless that has been done with this wheel.

    The environment goes afterwards, which is gigabytes; its log and its corrected files stay in `work`.

    Raises:
        SetupError: there is no wheel, or no installer.
    """
    name = next(each for each, other in ENVIRONMENTS.items() if other is environment)
    made = built(work)
    try:
        python = interpreter(environment.python)
        key = fingerprint([CONSTRAINTS], made.key, repr(environment), repr(python), *TESTS, CHOSEN)
    except AbsentError as error:
        return Found(made.key, machine(), absent=str(error))
    folder, known = work / name, work / f"{name}.json"
    if known.exists():
        seen = json.loads(known.read_text())
        if seen["key"] == key:
            return Found(**seen)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    texts: dict[str, object] = {}
    try:
        _try(environment, python, folder, work, texts)
    except StepError as error:
        texts["failed"] = str(error)
    finally:
        for heavy in ("env", "tree"):
            shutil.rmtree(folder / heavy, ignore_errors=True)
    found = Found(key=key, facts=machine(), **texts)
    # What failed may have failed for want of room or of a network: it is tried again.
    if not found.failed:
        write(known, json.dumps(asdict(found)) + "\n")
    return found


def _try(environment: Environment, python: Interpreter, folder: Path, work: Path, texts: dict[str, object]) -> None:
    """Fill in the texts of `Found`, step by step."""
    log = folder / "log.txt"
    own = python.environment(folder / "env", log)
    wanted = ("-c", str(CONSTRAINTS)) if environment.constraints else environment.pins
    own.install(*wanted, str(wheel(work)), "pytest", "hypothesis", log=log)
    said = own.run(folder, own.path, "-V", log=log, step="python")
    texts["versions"] = {"Python": said.split()[-1]} | installed(own, folder, log)
    texts["fits"] = own.fits(log).strip().splitlines()[-1]
    listing = own.run(folder, own.path, "-m", "spectac_fast", log=log, step="python -m spectac_fast")
    texts["operators"] = compiled(listing)
    tree = copied(folder / "tree", without=("spectac_fast", "kernels", "bench/results"))
    options = ["-p", "no:cacheprovider", "-m", "not large and not night", "-k", CHOSEN]
    said = own.run(tree, own.path, "-m", "pytest", *options, *TESTS, log=log, step="tests")
    texts["tests"] = counted(said)
    study, out = folder / "study", folder / "corrected"
    own.run(folder, own.path, "-c", UNPACK, str(study), log=log, step="the demo study")
    command = str(Path(own.path).with_name("spectac"))
    own.run(folder, command, "correct", str(study), "-o", str(out), "-d", "cpu", log=log, step="spectac correct")
    texts["corrected"] = beside(out, work / STANDARD / "corrected")


def compiled(listing: str) -> str:
    """How many operators `python -m spectac_fast` says to run compiled on the CPU.

    Raises:
        StepError: not all.
    """
    states = dict(re.findall(r"^(\w+) +cpu +native +(\w+)", listing, re.MULTILINE))
    if not states or set(states.values()) != {"available"}:
        raise StepError(f"compiled operators: expected all to be available, found {states}")
    return f"all {len(states)}"


def counted(said: str) -> str:
    """How many tests passed and how many were skipped, by the marks that pytest sets as it goes.

    Raises:
        StepError: none passed.
    """
    marks = "".join(re.findall(r"^([.s]+) +\[ *\d+%\]$", said, re.MULTILINE))
    if "." not in marks:
        raise StepError("tests: expected some that pass, found none")
    return f"{marks.count('.')} passed, {marks.count('s')} skipped"


def beside(made: Path, standard: Path) -> str:
    """Corrected files beside those of the standard environment: how many are the same bytes, and what differs.

    Raises:
        StepError: there are none, or not the same names, as where the standard environment has not been tried.
    """
    names = sorted(path.name for path in made.glob("*.dcm"))
    if not names or names != sorted(path.name for path in standard.glob("*.dcm")):
        raise StepError(f"corrected files: expected those of the environment {STANDARD}, found {names}")
    if made == standard:
        return f"{len(names)} files, SHA-256 of all `{fingerprint(made / name for name in names)[:16]}`"
    same = [name for name in names if (made / name).read_bytes() == (standard / name).read_bytes()]
    if len(same) == len(names):
        return f"{len(names)} files, the same bytes"
    other, of, largest = 0, 0, 0
    for name in names:
        ours, theirs = (dcmread(folder / name).pixel_array.astype(np.int64) for folder in (made, standard))
        apart = np.abs(ours - theirs)
        other, of, largest = other + int((apart > 0).sum()), of + apart.size, max(largest, int(apart.max()))
    return f"{len(names)} files, {len(same)} the same bytes; {other} of {of} counts differ, by at most {largest}"
