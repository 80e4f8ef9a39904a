"""One extension, `spectac_fast._C`: C++ always, CUDA by SPECTAC_FAST_CUDA=auto|0|1. The rest is in pyproject.toml."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import ClassVar

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

STABLE_ABI = "0x020b000000000000"  # the binary runs on torch 2.11 and later
OLDEST_PYTHON = "cp311"  # and on this Python and later, as csrc/module.cpp uses the limited API alone
# Which Pythons without a global lock do not have.
ANY_PYTHON = not sysconfig.get_config_var("Py_GIL_DISABLED")
# Wide enough for today's data-centre GPUs; PTX lets later ones compile the kernels at load time.
DEFAULT_CUDA_ARCHITECTURES = "8.0;9.0+PTX"


# What every .cu file here needs: a kernel and its launch, the runtime, torch's headers.
TRIAL = """
#include <cuda_runtime.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

__global__ void twice(float* values) { values[threadIdx.x] *= 2.0f; }

extern "C" int spectac_fast_trial(float* values) {
  twice<<<1, 1>>>(values);
  return int(cudaGetLastError());
}
"""
NVCC_FLAGS = ["-O3", "-lineinfo"]


def cuda_wanted() -> tuple[bool, str]:
    """(whether to compile the .cu files, why not) by SPECTAC_FAST_CUDA, the torch at hand and the compiler at hand.

    auto tries the compiler on a small file and does without CUDA where that fails; 1 ends with the reason.
    """
    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    choice = os.environ.get("SPECTAC_FAST_CUDA", "auto")
    if choice not in ("auto", "0", "1"):
        sys.exit(f"SPECTAC_FAST_CUDA must be auto, 0 or 1, found {choice!r}.")
    if choice == "0":
        return False, "SPECTAC_FAST_CUDA=0 was set at install time"
    compiler = shutil.which("nvcc", path=str(Path(CUDA_HOME, "bin"))) if CUDA_HOME else None
    if not torch.version.cuda:
        if choice == "1":
            sys.exit(f"SPECTAC_FAST_CUDA=1 needs a torch built with CUDA, found torch {torch.__version__}.")
        return False, f"torch {torch.__version__} is built without CUDA"
    if compiler is None:
        if choice == "1":
            sys.exit("SPECTAC_FAST_CUDA=1 needs the CUDA compiler nvcc, found none (set CUDA_HOME or PATH).")
        return False, "no CUDA compiler nvcc was found at install time (set CUDA_HOME or PATH)"
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", DEFAULT_CUDA_ARCHITECTURES)
    unfit = why_unfit(compiler)
    if unfit and choice == "1":
        sys.exit(f"SPECTAC_FAST_CUDA=1, but {unfit}.")
    if unfit:
        print(f"spectac_fast is built without CUDA: {unfit}; SPECTAC_FAST_CUDA=1 insists on it.", file=sys.stderr)
    return not unfit, unfit


def why_unfit(compiler: str) -> str:
    """Why this nvcc cannot build the extension, in one sentence's clause, or nothing.

    A small file is compiled with the flags and headers of the real ones and linked: minutes of templates later the
    same fault would end the installation. SPECTAC_FAST_TRIAL_SECONDS: what each step may take (default 300).
    """
    import torch
    from torch.utils import cpp_extension

    said = attempt([compiler, "--version"], "")
    if isinstance(said, str):
        return f"{compiler} {said}"
    found = re.search(rb"release (\d+)\.(\d+)", said)
    if found is None:
        return f"{compiler} does not say its version, as a CUDA compiler does"
    if int(found[1]) != int(torch.version.cuda.split(".")[0]):
        own = f"{int(found[1])}.{int(found[2])}"
        return f"{compiler} is of CUDA {own}, and torch {torch.__version__} is built with CUDA {torch.version.cuda}"
    with tempfile.TemporaryDirectory() as folder:
        source, built, linked = (Path(folder, f"trial{ending}") for ending in (".cu", ".o", ".so"))
        source.write_text(TRIAL)
        headers = [f"-I{path}" for path in cpp_extension.include_paths("cuda")]
        libraries = [f"-L{path}" for path in cpp_extension.library_paths("cuda")]
        macros = ["-DUSE_CUDA=1", f"-DTORCH_TARGET_VERSION={STABLE_ABI}"]
        flags = [
            *cpp_extension.COMMON_NVCC_FLAGS,
            *NVCC_FLAGS,
            *macros,
            *headers,
            *cpp_extension._get_cuda_arch_flags(),
            "-Xcompiler",
            "-fPIC",
        ]
        for command, made in (
            ([compiler, "-std=c++20", *flags, "-c", str(source), "-o", str(built)], built),
            ([compiler, "-shared", str(built), "-o", str(linked), *libraries, "-lcudart"], linked),
        ):
            step = "compile" if made is built else "link"
            said = attempt(command, f" to {step} a small file")
            if isinstance(said, str):
                return f"{compiler} {said}"
            if not made.is_file() or (sys.platform == "linux" and made.read_bytes()[:4] != b"\x7fELF"):
                return f"{compiler} says that it can {step} a small file, but makes nothing of it"
        if b"spectac_fast_trial" not in linked.read_bytes():
            return f"{compiler} makes something else of a small file"
    return ""


def attempt(command: list[str], what: str) -> bytes | str:
    """What a command prints; or, as text, a clause on how it failed."""
    seconds = float(os.environ.get("SPECTAC_FAST_TRIAL_SECONDS", "300"))
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return f"did not come to an end in {seconds:g} s{what}"
    except OSError as error:
        return f"cannot be run ({error.strerror or error})"
    if done.returncode:
        lines = (done.stderr + done.stdout).decode(errors="replace").splitlines()
        telling = [line.strip() for line in lines if "error" in line.lower()] or [line.strip() for line in lines]
        first = " ".join("".join(telling[:1]).split())[:300]
        return f"fails{what}{f' ({first})' if first else f' with status {done.returncode}'}"
    return done.stdout


def extension(cuda: bool):
    """The extension module; sources are found by their folder, so that a new op needs no entry here."""
    import torch
    from torch.utils.cpp_extension import CppExtension, CUDAExtension

    compiler = shutil.which(os.environ.get("CXX", "c++").split()[0])
    macros = {
        "TORCH_TARGET_VERSION": STABLE_ABI,
        "SPECTAC_FAST_TORCH": json.dumps(torch.__version__),
        "SPECTAC_FAST_COMPILER": json.dumps(Path(compiler).resolve().name),
    }
    sources = [
        "csrc/module.cpp",
        *(str(p) for part in ("cpu", "engine") for p in sorted(Path("csrc", part).glob("*.cpp"))),
    ]
    flags = {"cxx": ["-O3", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-Wno-psabi"]}
    if cuda:
        sources += map(str, sorted(Path("csrc/cuda").glob("*.cu")))
        flags["nvcc"] = NVCC_FLAGS
        macros |= {"USE_CUDA": "1", "SPECTAC_FAST_CUDA_VERSION": json.dumps(torch.version.cuda)}
    make = CUDAExtension if cuda else CppExtension
    headers = [str(p) for p in Path("csrc").rglob("*") if p.suffix in (".h", ".cuh")]
    return make(
        "spectac_fast._C",
        sources,
        include_dirs=[str(Path("csrc").resolve())],
        define_macros=list(macros.items()),
        extra_compile_args=flags,
        depends=headers,
        py_limited_api=ANY_PYTHON,
    )


def native() -> tuple[dict, dict[str, str]]:
    """(setuptools arguments that build the extension, or nothing; what `_build.json` says of it)."""
    try:
        import torch  # noqa: F401
    except ImportError:
        return {}, {"native": "torch was missing at install time (use pip install --no-build-isolation)"}
    cuda, why = cuda_wanted()
    if not shutil.which(os.environ.get("CXX", "c++").split()[0]):
        return {}, {"native": "no C++ compiler was found at install time (install g++ and reinstall)"}
    from torch.utils.cpp_extension import BuildExtension

    build = {
        "ext_modules": [extension(cuda)],
        "cmdclass": {"build_ext": BuildExtension},
        "options": {"bdist_wheel": {"py_limited_api": OLDEST_PYTHON}} if ANY_PYTHON else {},
    }
    return build, {"native": "built", "cuda": why or "built"}


def described(text: str, url: str) -> str:
    """README for a package page, where relative links and pictures would lead nowhere: they lead to `url`, if any."""
    if not url:
        return text
    text = re.sub(r"\]\((?![a-z]+:|#)([^)]+)\)", rf"]({url}/blob/main/\1)", text)
    return re.sub(r'src="(?![a-z]+:)([^"]+)"', rf'src="{url}/raw/main/\1"', text)


def addresses(url: str) -> dict[str, str]:
    """The links beside a package page."""
    pages = {"Documentation": "docs/pages/index.md", "Changelog": "CHANGELOG.md", "Security": "SECURITY.md"}
    if not url:
        return {}
    return {"Source": url, "Issues": f"{url}/issues"} | {k: f"{url}/blob/main/{page}" for k, page in pages.items()}


class BuildPyWithNote(build_py):
    """Leaves `_build.json` beside the package: what of the extension is built, or why not, for messages at run time."""

    built: ClassVar[dict[str, str]] = {}

    def run(self) -> None:
        super().run()
        folder = Path(".") if self.editable_mode else Path(self.build_lib)
        # Python would take one of its own before the one for all that is built next.
        for earlier in folder.glob("spectac_fast/_C.cp*"):
            earlier.unlink()
        note = folder / "spectac_fast" / "_build.json"
        note.write_text(json.dumps(self.built) + "\n")


# As a build runs it; the tests take its functions.
if __name__ == "__main__":
    build, BuildPyWithNote.built = native()
    # Where this is a repository of somebody's, only whoever builds for others knows.
    repository = os.environ.get("SPECTAC_FAST_URL", "").rstrip("/")
    setup(
        long_description=described(Path("README.md").read_text(encoding="utf-8"), repository),
        long_description_content_type="text/markdown",
        project_urls=addresses(repository),
        packages=[*find_packages(include=["spectac_fast", "spectac_fast.*"]), "spectac_fast.kernels"],
        package_dir={"spectac_fast.kernels": "kernels"},
        package_data={
            "spectac_fast": [
                "py.typed",
                "weights/*",
                "train/recipes/**/*",
                "data/demo/**/*",
                "data/geometry/*.json",
                "evaluate/regional/*.npz",
                "evaluate/own/*.css",
                "evaluate/report/*.css",
                "formats/evidence/*.json",
            ]
        },
        ext_modules=build.get("ext_modules", []),
        options=build.get("options", {}),
        cmdclass={"build_py": BuildPyWithNote, **build.get("cmdclass", {})},
    )
