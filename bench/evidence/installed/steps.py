"""Commands in environments of their own: what each said is kept, and one that fails ends its part with a sentence."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.evidence.acceptance import ROOT
from bench.outputs import write
from spectac_fast.errors import SetupError, UsageError

# Of the line that a failed command said last.
SAID = 200
# Where nothing lies that a command could take for its own.
NOWHERE = Path("/")


class StepError(Exception):
    """A step came to no good end: which, and the last line it said."""


class AbsentError(Exception):
    """What a step needs cannot be had here: one clause."""


def uv() -> str:
    """The installer: environments of gigabytes share their files by it, in a cache of its own.

    Raises:
        SetupError: it is not there.
    """
    found = shutil.which("uv")
    if found is None:
        raise SetupError("uv: expected the installer on PATH (pip install uv), found none.")
    return found


@dataclass(frozen=True)
class Interpreter:
    """A Python: words before every command that runs in it (of a container or chroot), and its own path there."""

    prefix: tuple[str, ...]
    path: str

    def run(self, folder: Path, *words: str, log: Path, step: str) -> str:
        """What a command prints; its directory is `folder`, and nothing of the surrounding Python reaches it."""
        where = ["env", "-C", str(folder), "-u", "PYTHONPATH", "-u", "VIRTUAL_ENV", "PYTHONUNBUFFERED=1"]
        command = [*self.prefix, *where, *words]
        done = subprocess.run(
            command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False
        )
        before = log.read_text() if log.exists() else ""
        write(log, f"{before}$ {shlex.join(words)}\n{done.stdout}\n")
        if done.returncode:
            last = " ".join(([line for line in done.stdout.splitlines() if line.strip()] or [""])[-1].split())
            raise StepError(f"{step}: status {done.returncode}, {last[:SAID]}")
        return done.stdout

    def environment(self, folder: Path, log: Path) -> Interpreter:
        """An environment made anew in `folder`, with nothing in it."""
        self.run(NOWHERE, uv(), "venv", "-q", "--clear", "--python", self.path, str(folder), log=log, step="venv")
        return Interpreter(self.prefix, str(folder / "bin" / "python"))

    def install(self, *wanted: str, log: Path) -> None:
        words = [uv(), "pip", "install", "--python", self.path, *wanted]
        self.run(NOWHERE, *words, log=log, step="install")

    def fits(self, log: Path) -> str:
        """What `pip check` says of all that is installed: the last line of it."""
        return self.run(NOWHERE, uv(), "pip", "check", "--python", self.path, log=log, step="pip check")


def interpreter(version: str) -> Interpreter:
    """The Python of this version ("3.11"): of SPECTAC_FAST_PYTHON_3_11, which may be several words, or of this machine.

    Raises:
        AbsentError: there is none, or it is of another version.
    """
    variable = f"SPECTAC_FAST_PYTHON_{version.replace('.', '_')}"
    named = shlex.split(os.environ.get(variable, ""))
    if not named:
        words = [uv(), "python", "find", "--system", "--no-python-downloads", version]
        found = subprocess.run(words, cwd="/", capture_output=True, text=True, check=False)
        if found.returncode:
            raise AbsentError(f"no Python {version} on this machine ({variable} may name one)")
        named = [found.stdout.strip()]
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        said = subprocess.run([*named, "-c", code], cwd="/", capture_output=True, text=True, check=False).stdout.strip()
    except OSError as error:
        raise AbsentError(f"{variable} cannot be run ({error.strerror})") from None
    if said != version:
        raise AbsentError(f"{variable} is not a Python {version}")
    return Interpreter(tuple(named[:-1]), named[-1])


def copied(folder: Path, *, of: Iterable[str] = (), without: Iterable[str] = ()) -> Path:
    """The files that git knows, as they are now, in a new `folder`: those below the paths `of` (default all), but for
    those below `without`."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in tracked(of, without):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target, (ROOT / name).read_bytes())
    return folder


def tracked(of: Iterable[str] = (), without: Iterable[str] = ()) -> list[str]:
    """Names of the files that git knows and that are there, by `copied`'s choice."""
    command = ["git", "ls-files", "-z", "--", *of, *(f":!{path}" for path in without)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"{ROOT}: expected a git repository, found {done.stderr.strip()!r}.")
    return sorted(name for name in done.stdout.split("\0") if name and (ROOT / name).is_file())


def fingerprint(paths: Iterable[Path], *words: str) -> str:
    """SHA-256 over files and words."""
    seen = hashlib.sha256()
    for path in paths:
        seen.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    for word in words:
        seen.update(f"{word}\0".encode())
    return seen.hexdigest()
