"""The CUDA compiler and the disassembler, wherever they are, and what they make of the kernels."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import torch
from torch.utils.cpp_extension import include_paths

from spectac_fast.errors import SetupError

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "csrc/cuda"


def nvcc() -> str | None:
    """A toolkit's, or that of the extra `nvcc`, which lies beside torch."""
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    packages = Path(torch.__file__).parent.parent / "nvidia"
    folders = [os.environ["PATH"], str(Path(home, "bin")), *map(str, sorted(packages.glob("cu*/bin")))]
    return next(filter(None, (shutil.which("nvcc", path=folder) for folder in folders)), None)


def nvdisasm() -> str | None:
    """Triton's, or a toolkit's."""
    found = importlib.util.find_spec("triton")
    places = [] if found is None or found.origin is None else [str(Path(found.origin).parent / "backends/nvidia/bin")]
    return shutil.which("nvdisasm", path=os.pathsep.join([*places, os.environ["PATH"], "/usr/local/cuda/bin"]))


def compiled(compiler: str, source: Path, cubin: Path, architecture: str) -> subprocess.CompletedProcess[str]:
    """Compile one file of kernels; what the compiler says of registers is in its stderr."""
    # torch's headers are not ours to warn about. "cpu" lists the paths that need no CUDA build of torch.
    torch_headers = [f"-isystem={path}" for path in include_paths("cpu")]
    flags = ["-cubin", f"-arch={architecture}", "-O3", "-lineinfo", "-std=c++20", "--expt-relaxed-constexpr"]
    flags += ["-Xptxas", "-v", "-Werror", "all-warnings", f"-I{ROOT / 'csrc'}", *torch_headers]
    flags += ["-DTORCH_TARGET_VERSION=0x020b000000000000", "-DUSE_CUDA"]
    return subprocess.run([compiler, *flags, str(source), "-o", str(cubin)], capture_output=True, text=True)


def disassembled(cubin: Path) -> str:
    """The machine code in what `compiled` made. Raises SetupError where there is no disassembler."""
    tool = nvdisasm()
    if tool is None:
        raise SetupError("roofline: expected nvdisasm, of a CUDA toolkit or of Triton, found neither.")
    return subprocess.run([tool, "--print-code", str(cubin)], capture_output=True, text=True, check=True).stdout


def machine_code(source: Path, folder: Path, architecture: str) -> str:
    """Of one file of kernels. Raises SetupError where a tool is missing or the compiler refuses the file."""
    compiler = nvcc()
    if compiler is None:
        raise SetupError(
            "roofline: expected nvcc, of a CUDA toolkit or by pip install 'spectac_fast[nvcc]', found none."
        )
    cubin = folder / f"{source.stem}.cubin"
    run = compiled(compiler, source, cubin, architecture)
    if run.returncode:
        raise SetupError(
            f"{source}: expected kernels that compile for {architecture}, found: {run.stderr.strip()[-500:]}"
        )
    return disassembled(cubin)
