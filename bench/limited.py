"""This machine as one without its widest vector instructions: `python -m bench NAME ... --isa avx2` for both sides.

Torch, oneDNN, MKL, Inductor, NumPy and glibc each have a variable of their own that says what they may use, read when a
process starts; our extension chooses by the processor alone and is built once more without what is wider. So the
measurement runs in a process of its own, in this module.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from spectac_fast.errors import SpectacError, UsageError

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / "build" / "avx2"
ISAS = {"avx2": "AVX2"}
FACT = "limited to"
_INSIDE = "SPECTAC_FAST_BENCH_ISA"
_WIDER = ("AVX512F", "AVX512VL", "AVX512BW", "AVX512DQ", "AVX512CD")


def variables() -> dict[str, str]:
    """What keeps each library from instructions wider than AVX2."""
    from numpy._core import _multiarray_umath

    wide = [name for name in _multiarray_umath.__cpu_dispatch__ if "512" in name or name == "X86_V4"]
    return {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "TORCHINDUCTOR_CPP_MARCH": "x86-64-v3",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=" + ",".join(f"-{name}" for name in _WIDER),
        "NPY_DISABLE_CPU_FEATURES": " ".join(wide),
    }


def build() -> Path:
    """The folder of an extension that has nothing wider than AVX2, built anew where a source has changed."""
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(BUILT)]
    flags = f"{os.environ.get('CFLAGS', '')} -DSPECTAC_FAST_AVX2".strip()
    environment = {**os.environ, "SPECTAC_FAST_CUDA": "0", "CFLAGS": flags}
    done = subprocess.run(
        [*command, "--build-temp", str(BUILT / "objects")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise SpectacError(f"--isa avx2: expected to build the extension into {BUILT}, found {' '.join(said)}.")
    return BUILT / "spectac_fast"


def again(arguments: list[str]) -> int:
    """Run `python -m bench` with these arguments in a process that is limited; its exit status."""
    command = [sys.executable, "-m", "bench.limited", str(build()), *arguments]
    return subprocess.run(command, env={**os.environ, **variables(), _INSIDE: "avx2"}, check=False).returncode


def inside() -> bool:
    """Whether this process is such a one; UsageError where it only says so."""
    if os.environ.get(_INSIDE) != "avx2":
        return False
    from spectac_fast import _native

    file = getattr(_native.extension, "__file__", "no extension")
    found = torch.backends.cpu.get_cpu_capability()
    if found != "AVX2" or not Path(file).is_relative_to(BUILT):
        raise UsageError(f"--isa avx2: expected torch at AVX2 and an extension of {BUILT}, found {found} and {file}.")
    return True


def fact() -> dict[str, str]:
    """What stands beside the numbers of a limited process; nothing in another."""
    said = "AVX2, both sides (the extension built without what is wider, and each library by its own variable)"
    return {FACT: said} if inside() else {}


def main() -> int:
    """`python -m bench.limited FOLDER NAME ...`: a measurement by the extension of that folder."""
    import spectac_fast

    spectac_fast.__path__.insert(0, sys.argv.pop(1))
    from bench.__main__ import main as measure

    return measure()


if __name__ == "__main__":
    sys.exit(main())
