"""One extension, `spectac_fast._C`: C++ always, CUDA by SPECTAC_FAST_CUDA=auto|0|1. The rest is in pyproject.toml."""

import json
import os
import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

STABLE_ABI = "0x020b000000000000"  # the binary runs on torch 2.11 and later
# Wide enough for today's data-centre GPUs; PTX lets later ones compile the kernels at load time.
DEFAULT_CUDA_ARCHITECTURES = "8.0;9.0+PTX"


def cuda_wanted() -> bool:
    """Whether to compile the .cu files, from SPECTAC_FAST_CUDA, the torch at hand and the compiler at hand."""
    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    choice = os.environ.get("SPECTAC_FAST_CUDA", "auto")
    if choice not in ("auto", "0", "1"):
        sys.exit(f"SPECTAC_FAST_CUDA must be auto, 0 or 1, found {choice!r}.")
    compiler = CUDA_HOME and Path(CUDA_HOME, "bin", "nvcc").exists()
    if choice == "1" and not torch.version.cuda:
        sys.exit(f"SPECTAC_FAST_CUDA=1 needs a torch built with CUDA, found torch {torch.__version__}.")
    if choice == "1" and not compiler:
        sys.exit("SPECTAC_FAST_CUDA=1 needs the CUDA compiler nvcc, found none (set CUDA_HOME or PATH).")
    return choice != "0" and bool(torch.version.cuda) and bool(compiler)


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
    sources = ["csrc/module.cpp", *map(str, sorted(Path("csrc/cpu").glob("*.cpp")))]
    flags = {"cxx": ["-O3", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-Wno-psabi"]}
    if cuda:
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", DEFAULT_CUDA_ARCHITECTURES)
        sources += map(str, sorted(Path("csrc/cuda").glob("*.cu")))
        flags["nvcc"] = ["-O3", "-lineinfo"]
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
    )


def native() -> tuple[dict, str]:
    """(setuptools arguments that build the extension, empty string) or (nothing, why it is not built)."""
    try:
        import torch  # noqa: F401
    except ImportError:
        return {}, "torch was missing at install time (use pip install --no-build-isolation)"
    cuda = cuda_wanted()
    if not shutil.which(os.environ.get("CXX", "c++").split()[0]):
        return {}, "no C++ compiler was found at install time (install g++ and reinstall)"
    from torch.utils.cpp_extension import BuildExtension

    return {"ext_modules": [extension(cuda)], "cmdclass": {"build_ext": BuildExtension}}, ""


BUILD, WHY_NOT_NATIVE = native()


class BuildPyWithNote(build_py):
    """Leaves `_build.json` beside the package: why there is no extension, for the error messages at run time."""

    def run(self) -> None:
        super().run()
        folder = Path(".") if self.editable_mode else Path(self.build_lib)
        note = folder / "spectac_fast" / "_build.json"
        note.write_text(json.dumps({"native": WHY_NOT_NATIVE or "built"}) + "\n")


setup(
    packages=[*find_packages(include=["spectac_fast", "spectac_fast.*"]), "spectac_fast.kernels"],
    package_dir={"spectac_fast.kernels": "kernels"},
    package_data={
        "spectac_fast": [
            "py.typed",
            "weights/*",
            "train/recipes/**/*",
            "data/demo/**/*",
            "data/geometry/*.json",
            "evaluate/report/*.css",
            "formats/evidence/*.json",
        ]
    },
    ext_modules=BUILD.get("ext_modules", []),
    cmdclass={"build_py": BuildPyWithNote, **BUILD.get("cmdclass", {})},
)
