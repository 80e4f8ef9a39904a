"""`make demo` sets up .venv quietly: a line a step, and what pip says only where it fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# Plays python, the environment it makes, pip and spectac: warns as pip does, and fails where FAILING says.
PYTHON = """#!/bin/sh
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


def make(clone: Path, failing: str = "nothing") -> subprocess.CompletedProcess[str]:
    # None of the settings of a make that runs the tests.
    environment = {"PATH": os.environ["PATH"], "FAILING": failing}
    return subprocess.run(
        ["make", "demo", "PYTHON=./python"], cwd=clone, env=environment, capture_output=True, text=True
    )


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
