"""The translated kernels compiled by g++, each file anew only where it, a header or the compiler has changed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from places import ROOT
from torch.utils.cpp_extension import include_paths, library_paths

from emulation.translate import translate

SOURCES = ROOT / "csrc"
MACHINE = Path(__file__).resolve().parent.parent / "machine"
PROBES = MACHINE.parent / "probes"
BUILT = ROOT / "build" / "emulated"
# Where `make race` lets the sanitizers write, a process a file.
REPORTS = BUILT / "reports"
COMPILER = os.environ.get("CXX", "g++").split()[0]

# As nvcc: products are fused with sums wherever they meet. Locals that nobody sets hold a pattern.
_COMMON = ["-std=c++20", "-O1", "-fPIC", "-w", "-ftrivial-auto-var-init=pattern"]
_COMMON += ["-DTORCH_TARGET_VERSION=0x020b000000000000"]
_FUSED = ["-ffp-contract=fast", *(["-mfma"] if platform.machine() == "x86_64" else [])]

# Kind -> (how kernels are compiled, how the machine is, how both are linked).
KINDS = {
    "plain": (_FUSED, [], []),
    "unfused": (["-ffp-contract=off"], [], []),
    "address": (
        [*_FUSED, "-g1", "-fsanitize=address,undefined", "-fsanitize-recover=address", "-fno-sanitize=vptr"],
        ["-DEMULATED_ADDRESS_SANITIZER"],
        ["-fsanitize=address,undefined"],
    ),
    "thread": ([*_FUSED, "-g1", "-fsanitize=thread"], ["-DEMULATED_THREAD_SANITIZER"], ["-fsanitize=thread"]),
}


def why_not() -> str | None:
    """Why the kernels cannot be compiled here, or None if they can."""
    return None if shutil.which(COMPILER) else f"there is no C++ compiler {COMPILER} here"


def run(*command: str | Path) -> str:
    # What the tests run under is not for the compiler.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stderr[-4000:]}")
    return done.stdout


def _digest(*parts: object) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update((part.read_bytes() if isinstance(part, Path) else repr(part).encode()) + b"\0")
    return digest.hexdigest()[:16]


def library(kind: str = "plain") -> Path:
    """The library of a kind. What has changed since it was last asked for is compiled; whoever asks meanwhile waits."""
    folder = BUILT / kind
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _made(kind, folder)


def _made(kind: str, folder: Path) -> Path:
    kernel_flags, machine_flags, link_flags = KINDS[kind]
    translated = [*translate(SOURCES, folder / "csrc"), *translate(PROBES, folder / "probes")]
    places = [f"-I{MACHINE}", f"-I{folder / 'csrc'}", *(f"-isystem{path}" for path in include_paths("cpu"))]
    how = (run(COMPILER, "--version"), torch.__version__, _COMMON, KINDS[kind])
    of_machine = _digest(*how, *sorted(MACHINE.glob("*.h")))
    of_headers = _digest(of_machine, *sorted(p for p in (folder / "csrc").rglob("*") if p.suffix in (".h", ".cuh")))
    prefix = folder / f"torch-{of_machine}.h"

    def place(source: Path) -> Path:
        return folder / f"{source.stem}-{_digest(of_machine if source.parent == MACHINE else of_headers, source)}.o"

    def compile_one(source: Path) -> None:
        if place(source).exists():
            return
        how = [*machine_flags, "-O2"] if source.parent == MACHINE else [*kernel_flags, "-include", prefix]
        made = place(source).with_suffix(".new")
        run(COMPILER, *_COMMON, *how, *places, "-c", source, "-o", made)
        made.rename(place(source))

    sources = [*translated, *sorted(MACHINE.glob("*.cpp"))]
    objects = [place(source) for source in sources]
    result = folder / f"emulated-{_digest(*(p.name for p in objects))}.so"
    if result.exists():
        return result
    # Torch's headers take longer than most kernels: they are read once for all of them.
    if not prefix.with_suffix(".h.gch").exists():
        header = ("-x", "c++-header", MACHINE / "torch_on_cpu.h", "-o", f"{prefix}.gch")
        run(COMPILER, *_COMMON, *kernel_flags, *places, *header)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(compile_one, sources))
    torch_libraries = [part for path in library_paths("cpu") for part in (f"-L{path}", f"-Wl,-rpath,{path}")]
    linked = [*link_flags, *objects, *torch_libraries, "-ltorch", "-ltorch_cpu", "-lc10"]
    run(COMPILER, "-shared", *linked, "-o", result.with_suffix(".new"))
    result.with_suffix(".new").rename(result)
    for old in folder.iterdir():
        if old.is_file() and old not in {result, *objects, Path(f"{prefix}.gch"), folder / "lock"}:
            old.unlink()
    return result
