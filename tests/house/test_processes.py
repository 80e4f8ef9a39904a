"""Processes end with the one that started them, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import until

from spectac_fast.processes import process_pool

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see other processes")


def processes() -> Iterator[tuple[int, int]]:
    """(process, its parent) of all that are not over."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            yield int(path.parent.name), int(parent)


def children(parent: int) -> set[int]:
    return {child for child, of in processes() if of == parent}


def working(parent: int) -> set[int]:
    """The children that take work; one more, of multiprocessing's own, keeps its files in order."""
    return {child for child in children(parent) if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()}


@needs_proc
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_phantom_leaves_no_process_behind(tmp_path, how):
    words = ["phantom", "--cases", "1000", "--seed", "650000", "-o", tmp_path / "cohort", "--jobs", "2", "-d", "cpu"]
    command = [sys.executable, "-m", "spectac_fast.cli", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as phantom:
        try:
            until(lambda: phantom.poll() is not None or len(working(phantom.pid)) == 2)
            assert phantom.poll() is None
            started = children(phantom.pid)
        finally:
            phantom.send_signal(how)
    assert phantom.returncode == -how
    until(lambda: not started & {process for process, _ in processes()})


def pid(_: int) -> int:
    return os.getpid()


def test_a_pool_works_and_ends():
    with process_pool(2) as pool:
        found = set(pool.map(pid, range(8)))
    assert os.getpid() not in found
    assert 1 <= len(found) <= 2


@pytest.mark.skipif(os.name != "posix", reason="a process is replaced on POSIX only")
def test_nsys_takes_the_place_of_the_command(tmp_path):
    nsys = tmp_path / "nsys"
    nsys.write_text('#!/bin/sh\necho "$$ $SPECTAC_NVTX $*"\n')
    nsys.chmod(0o755)
    code = "import os, sys; print(os.getpid(), flush=True); sys.argv = ['spectac', 'profile', '-d', 'cuda']\n"
    code += "from spectac_fast.commands.studies.profile import _under_nsys; _under_nsys()"
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # What is there, of whatever ending, is not replaced.
    for name, ending in (("spectac-profile", "sqlite"), ("spectac-profile-2", "nsys-rep")):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        before, after = done.stdout.splitlines()
        assert after.startswith(f"{before} 1 profile --trace=cuda,nvtx ")
        assert f" -o {name} " in after
        assert "overwrite" not in after
        assert after.endswith(" -m spectac_fast.cli profile -d cuda")
        (tmp_path / f"{name}.{ending}").write_text("")
