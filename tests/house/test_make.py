"""`make demo` sets up .venv quietly: a line a step, and what pip says only where it fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

# Plays python, the environment it makes, pip and spectac: warns as pip does, fails where FAILING says, is as new as is
# asked for unless AGE says how old.
PYTHON = """#!/bin/sh
case "$1" in -c) exit "${AGE:-0}" ;; -V) echo "Python 3.1.4"; exit ;; esac
for k in $(seq 60); do echo "WARNING: Location 'file:///nowhere/$k/' is ignored." >&2; done
if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi
echo "Collecting what $* needs"
case "$*" in *"$FAILING") echo "ERROR: no space left"; for k in $(seq 60); do echo "WARNING: $k"; done; exit 3 ;; esac
printf '#!/bin/sh\\necho "demo: $*"\\n' >.venv/bin/spectac
chmod +x .venv/bin/spectac
"""
STEPS = ["./python", "torch", "build tools", "spectac_fast"]


@pytest.fixture
def clone(repository, tmp_path) -> Path:
    """A folder with the Makefile and what its targets depend on."""
    shutil.copy(repository / "Makefile", tmp_path)
    for name in ("constraints.txt", "pyproject.toml", "setup.py"):
        (tmp_path / name).touch()
    (tmp_path / "csrc").mkdir()
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def make(clone: Path, failing: str = "nothing", python: str = "./python", **settings: str):
    # None of the settings of a make that runs the tests.
    environment = {"PATH": os.environ["PATH"], "FAILING": failing, **settings}
    command = ["make", "demo", f"PYTHON={python}"]
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)


def test_a_line_a_step_and_nothing_the_second_time(clone):
    done, demo = make(clone), [".venv/bin/spectac demo -o demo-out", "demo: demo -o demo-out"]
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [*(f"setting up .venv ({step}) ..." for step in STEPS), *demo]
    assert done.stderr == ""
    assert make(clone).stdout.splitlines() == demo


@pytest.mark.parametrize(("failing", "step"), [("venv .venv", 0), ("torch", 1), ("ninja", 2), (".[test]", 3)])
def test_a_step_that_fails_shows_the_end_of_its_log(clone, failing, step):
    done = make(clone, failing)
    assert done.returncode == 2
    assert done.stdout.splitlines() == [f"setting up .venv ({name}) ..." for name in STEPS[: step + 1]]
    said = done.stderr.splitlines()
    assert said[0].startswith("Collecting what ")
    failed = f"setting up .venv ({STEPS[step]}) failed; all of what was said is in .venv/setup.log"
    assert said[1:3] == ["ERROR: no space left", failed]
    assert (clone / ".venv/setup.log").read_text().count("WARNING") == 120
    assert make(clone).returncode == 0


def test_a_python_that_is_too_old_is_a_sentence(clone, repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    least = project["requires-python"].removeprefix(">=")
    assert f"LEAST := {least}\n" in (clone / "Makefile").read_text()
    done = make(clone, AGE="1")
    assert done.returncode == 2
    said = f"PYTHON=./python: expected Python {least} or newer, found Python 3.1.4."
    assert (done.stdout, done.stderr.splitlines()[0]) == ("", said)
    assert not (clone / ".venv").exists()
    # The question is put to a real Python, too: this one is new enough.
    asked = subprocess.run(["make", "-n", "demo"], cwd=clone, capture_output=True, text=True).stdout
    (code,) = re.findall(r"-c '(import sys.*?)'", asked)
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    too_new = code.replace(least.replace(".", ","), f"{sys.version_info[0]},{sys.version_info[1] + 1}")
    assert subprocess.run([sys.executable, "-c", too_new]).returncode == 1


def test_no_python_at_all_is_a_sentence(clone):
    done = make(clone, python="./nothing")
    assert done.returncode == 2
    assert "PYTHON=./nothing: expected Python 3.11 or newer, found " in done.stderr
