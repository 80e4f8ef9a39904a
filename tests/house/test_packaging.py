"""The package as it ships: wheel and sdist contents, an install outside the repository, a build without a compiler."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import torch
from setuptools import Distribution

from bench.evidence.installed.wheels import SHIPPED

pytestmark = pytest.mark.chain

SKIPPED = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "runs", "*.so", "*.egg-info", "__pycache__", "_build.json"
)


@pytest.fixture(scope="module")
def source(repository, tmp_path_factory) -> Path:
    """A copy of the sources without anything built."""
    copy = tmp_path_factory.mktemp("source") / "spectac_fast"
    copy.mkdir()
    for name in SHIPPED:
        if (repository / name).is_dir():
            shutil.copytree(repository / name, copy / name, ignore=SKIPPED)
        else:
            shutil.copy(repository / name, copy / name)
    return copy


def build_wheel(source: Path, folder: Path, **environment: str) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", str(folder), "."]
    subprocess.run(command, cwd=source, env=os.environ | environment, check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def python_with(wheel: Path, folder: Path) -> Path:
    """A fresh environment holding this wheel; torch and the other dependencies are borrowed from the running one."""
    venv.create(folder, with_pip=False)
    python = folder / "bin/python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    return python


def run(python: Path, *arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "TRITON_INTERPRET")}
    return subprocess.run(
        [str(python), *arguments], cwd=cwd, env=environment, check=check, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    """Built from all that ships but with one operator in C++: that all compile is what every other test runs on."""
    copy = tmp_path_factory.mktemp("one-op") / "spectac_fast"
    others = [path.name for path in (source / "csrc/cpu").glob("*.cpp") if path.name != "sampler_step.cpp"]
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*others))
    return build_wheel(copy, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def pure_wheel(source, tmp_path_factory) -> Path:
    return build_wheel(source, tmp_path_factory.mktemp("pure"), CXX="no-such-compiler")


def test_the_wheel_holds_every_room_and_its_data(wheel, source):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (source / "spectac_fast").rglob("*"):
        shipped = (
            path.suffix in (".py", ".safetensors", ".json", ".toml", ".md", ".dcm", ".npz") or path.name == "py.typed"
        )
        if path.is_file() and shipped:
            assert path.relative_to(source).as_posix() in names
    for path in (source / "kernels").glob("*.py"):
        assert f"spectac_fast/kernels/{path.name}" in names
    assert "spectac_fast/_C.abi3.so" in names
    assert "-cp311-abi3-" in wheel.name, "one for every Python"
    assert not [name for name in names if name.startswith(("tests/", "csrc/", "bench/", "kernels/"))]


def test_an_installed_wheel_works_outside_the_repository(wheel, tmp_path):
    python = python_with(wheel, tmp_path / "env")
    code = "import spectac_fast.kernels.sampler_step as k, spectac_fast._C as c; print(k.__file__, c.__file__)"
    places = run(python, "-c", code, cwd=tmp_path).stdout.split()
    assert all(place.startswith(str(tmp_path)) for place in places)
    listing = run(python, "-m", "spectac_fast", cwd=tmp_path).stdout
    assert re.search(r"sampler_step +cpu +native +available", listing)
    assert "usage: spectac" in run(tmp_path / "env/bin/spectac", "--help", cwd=tmp_path).stdout


def test_without_a_compiler_it_still_installs_and_says_why(pure_wheel, tmp_path):
    assert not [name for name in zipfile.ZipFile(pure_wheel).namelist() if name.endswith(".so")]
    python = python_with(pure_wheel, tmp_path / "env")
    listing = run(python, "-m", "spectac_fast", cwd=tmp_path).stdout
    assert "native     no: the C++ extension is not built: no C++ compiler was found at install time" in listing
    code = """
import torch
from spectac_fast.ops import sampler_step
x, row, out = torch.ones(1, 1, 4, 4), torch.zeros(14), torch.zeros(1, 1, 4, 4)
row[3] = 2
sampler_step(x, x, None, row, x_next=out)
print(out.unique().tolist())
sampler_step(x, x, None, row, x_next=out, backend="native")
"""
    result = run(python, "-c", code, cwd=tmp_path, check=False)
    assert result.stdout.strip() == "[2.0]"
    assert "'native' is not available because the C++ extension is not built" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ("1", "SPECTAC_FAST_CUDA=1 needs a torch built with CUDA, found torch"),
        ("yes", "SPECTAC_FAST_CUDA must be auto, 0 or 1, found 'yes'."),
    ],
)
def test_a_wrong_choice_of_cuda_is_one_sentence(source, choice, sentence):
    if choice == "1" and torch.version.cuda:
        pytest.skip("this torch is built with CUDA")
    environment = os.environ | {"SPECTAC_FAST_CUDA": choice}
    command = [sys.executable, "setup.py", "--version"]
    result = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert sentence in result.stderr


def test_the_sdist_holds_what_a_build_needs(source, tmp_path):
    command = [sys.executable, "setup.py", "-q", "sdist", "--formats=zip", "-d", str(tmp_path)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.zip")
    names = {name.partition("/")[2] for name in zipfile.ZipFile(archive).namelist()}
    needed = [*source.joinpath("csrc").rglob("*.*"), *source.joinpath("kernels").glob("*.py")]
    assert {path.relative_to(source).as_posix() for path in needed if path.is_file()} <= names
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md"} <= names
    assert not [name for name in names if name.endswith(".so")]


def test_an_extension_of_an_earlier_build_does_not_hide_the_new_one(repository, tmp_path, monkeypatch):
    command = runpy.run_path(str(repository / "setup.py"), run_name="setup")["BuildPyWithNote"]
    package = tmp_path / "spectac_fast"
    package.mkdir()
    for name in ("_C.cpython-311-x86_64-linux-gnu.so", "_C.cp312-win_amd64.pyd", "_C.abi3.so", "_op.py"):
        (package / name).touch()
    monkeypatch.chdir(tmp_path)
    build = command(Distribution())
    build.ensure_finalized()
    build.editable_mode = True
    build.run()
    assert sorted(path.name for path in package.iterdir()) == ["_C.abi3.so", "_build.json", "_op.py"]
