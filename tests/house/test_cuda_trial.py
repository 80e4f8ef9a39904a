"""An nvcc that is there need not be fit: it is tried on a small file, and its fault is kept in a sentence."""

from __future__ import annotations

import json
import os
import runpy
import shutil
from pathlib import Path

import pytest
import torch
from places import ROOT
from torch.utils import cpp_extension

from spectac_fast import _native

# Plays nvcc: $1 is --version, or the last command compiles (-c) or links.
FAKE = """#!/bin/sh
if [ "$1" = --version ]; then {version}; exit 0; fi
out=""; step=link
while [ $# -gt 0 ]; do
    case "$1" in -o) out=$2; shift ;; -c) step=compile ;; esac
    shift
done
[ $step = {fails_in} ] && {{ {failure}; }}
printf '\\177ELF spectac_fast_trial' >"$out"
"""
RELEASE = "echo 'nvcc: NVIDIA (R) Cuda compiler driver'; echo 'Cuda compilation tools, release 13.0, V13.0.48'"
NOTHING = {"version": RELEASE, "fails_in": "never", "failure": ":"}
HEADERS = "echo 'trial.cu:3:10: fatal error: cuda_runtime.h: No such file or directory' >&2; exit 1"
WHY = {
    "headers missing": (
        {"fails_in": "compile", "failure": HEADERS},
        "fails to compile a small file (trial.cu:3:10: fatal error: cuda_runtime.h: No such file or directory)",
    ),
    "another architecture": (
        {"fails_in": "compile", "failure": "echo \"nvcc fatal : Unsupported gpu 'compute_90'\" >&2; exit 1"},
        "fails to compile a small file (nvcc fatal : Unsupported gpu 'compute_90')",
    ),
    "silent": ({"fails_in": "compile", "failure": "exit 139"}, "fails to compile a small file with status 139"),
    "no runtime library": (
        {"fails_in": "link", "failure": "echo '/usr/bin/ld: error: cannot find -lcudart' >&2; exit 1"},
        "fails to link a small file (/usr/bin/ld: error: cannot find -lcudart)",
    ),
    "another version": (
        {"version": "echo 'Cuda compilation tools, release 12.4, V12.4.99'"},
        f"is of CUDA 12.4, and torch {torch.__version__} is built with CUDA 13.0",
    ),
    "no version": ({"version": "echo ccache"}, "does not say its version"),
    "its version fails": ({"version": "echo 'error: no licence' >&2; exit 2"}, "fails (error: no licence)"),
    "hangs": ({"fails_in": "compile", "failure": "exec sleep 600"}, "did not come to an end in 3 s to compile a small"),
    "writes nothing": (
        {"fails_in": "compile", "failure": "exit 0"},
        "says that it can compile a small file, but makes nothing of it",
    ),
    "writes a text": (
        {"fails_in": "link", "failure": "echo done >\"$out\"; exit 0"},
        "says that it can link a small file, but makes nothing of it",
    ),
    "writes something else": (
        {"fails_in": "link", "failure": "printf '\\177ELF' >\"$out\"; exit 0"},
        "makes something else of a small file",
    ),
}  # fmt: skip


@pytest.fixture
def setup(monkeypatch):
    """The functions of setup.py, which builds nothing when it is not run as a build."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("SPECTAC_FAST_CUDA", raising=False)
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0")
    return runpy.run_path("setup.py", run_name="setup")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """Where CUDA seems to be, for a torch that seems to be built with CUDA 13.0."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", str(tmp_path))
    (tmp_path / "bin").mkdir()
    return tmp_path


def play(home: Path, **faults: str) -> None:
    nvcc = home / "bin" / "nvcc"
    nvcc.write_text(FAKE.format(**{**NOTHING, **faults}))
    nvcc.chmod(0o755)


@pytest.mark.parametrize("fault", WHY)
def test_an_unfit_compiler_is_named_and_done_without(setup, home, monkeypatch, capsys, fault):
    faults, said = WHY[fault]
    play(home, **faults)
    if fault == "hangs":
        monkeypatch.setenv("SPECTAC_FAST_TRIAL_SECONDS", "3")
    build, note = setup["native"]()
    assert said in note["cuda"]
    assert str(home / "bin" / "nvcc") in note["cuda"]
    assert note["native"] == "built"
    sources = build["ext_modules"][0].sources
    assert not [source for source in sources if source.endswith(".cu")]
    assert capsys.readouterr().err.startswith("spectac_fast is built without CUDA: ")
    # Whoever insists is told at once, not after half an hour.
    monkeypatch.setenv("SPECTAC_FAST_CUDA", "1")
    with pytest.raises(SystemExit, match=r"^SPECTAC_FAST_CUDA=1, but .*nvcc") as end:
        setup["native"]()
    assert said in str(end.value)


def test_a_fit_compiler_builds_the_kernels(setup, home):
    play(home)
    build, note = setup["native"]()
    assert note == {"native": "built", "cuda": "built"}
    kernels = [source for source in build["ext_modules"][0].sources if source.endswith(".cu")]
    assert len(kernels) == len(list((ROOT / "csrc" / "cuda").glob("*.cu")))


def test_what_cannot_be_run_is_named(setup, home):
    (home / "bin" / "nvcc").write_text("\x7fELF of another machine")
    (home / "bin" / "nvcc").chmod(0o755)
    assert "cannot be run (Exec format error)" in setup["native"]()[1]["cuda"]


def test_why_there_is_no_cuda_is_said_without_a_compiler_too(setup, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert setup["native"]()[1]["cuda"] == f"torch {torch.__version__} is built without CUDA"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", None)
    assert "no CUDA compiler nvcc was found" in setup["native"]()[1]["cuda"]
    monkeypatch.setenv("SPECTAC_FAST_CUDA", "0")
    assert "SPECTAC_FAST_CUDA=0" in setup["native"]()[1]["cuda"]


def test_the_note_is_written_and_read(setup, tmp_path, monkeypatch):
    from setuptools import Distribution

    note = setup["BuildPyWithNote"]
    monkeypatch.setattr(note, "built", {"native": "built", "cuda": "/opt/nvcc fails to link a small file"})
    command = note(Distribution({"packages": []}))
    command.build_lib, command.packages, command.py_modules = str(tmp_path), [], []
    (tmp_path / "spectac_fast").mkdir()
    command.ensure_finalized()
    command.run()
    written = json.loads((tmp_path / "spectac_fast" / "_build.json").read_text())
    assert written == note.built
    monkeypatch.setattr(_native, "_note", lambda: written)
    monkeypatch.setattr(_native, "extension", object())
    monkeypatch.setattr(_native, "build_info", lambda: {"cuda": None})
    assert _native.why_not("cuda") == ("the C++ extension was built without CUDA: /opt/nvcc fails to link a small file")


@pytest.mark.large
def test_the_compiler_that_is_here_passes(setup, monkeypatch):
    found = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if found is None:
        pytest.skip("no CUDA compiler (nvcc) here")
    release = setup["attempt"]([found, "--version"], "").decode().partition("release ")[2].partition(",")[0]
    home = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    if not (home / "include" / "cuda_runtime.h").is_file():
        home = Path(found).resolve().parents[1]
    monkeypatch.setattr(torch.version, "cuda", release)
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", str(home))
    assert setup["why_unfit"](found) == ""
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0")
    monkeypatch.setattr(cpp_extension, "include_paths", lambda *_: [])
    assert "torch/csrc/stable/tensor.h" in setup["why_unfit"](found)
