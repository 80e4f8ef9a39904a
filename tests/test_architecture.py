"""The rooms of the package and the arrows between them: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Modules at the top that any room may use; they use none.
SHARED = {"_version", "errors", "progress", "device", "tracing"}

# Room -> rooms it may import. Anything not listed here is not a room, and fails.
ARROWS = {
    "kernels": set(),
    "_native": set(),
    "_op": {"_native"},
    "ops": {"_op", "_native", "kernels"},
    "checkpoints": set(),
    # An importer checks every tensor against the network it fills, and schedules against the process.
    "checkpoints.layouts": {"models", "diffusion"},
    "data": {"phantom", "cohort"},
    "phantom": {"data"},
    "cohort": {"data", "phantom"},
    "diffusion": {"ops"},
    "models": {"diffusion", "checkpoints", "ops", "data"},
    "correct": {"models", "data"},
    # What a DICOM peer sends is corrected as files are.
    "node": {"correct", "models", "data"},
    "train": {"models", "data", "diffusion", "checkpoints", "ops"},
    "evaluate": {"models", "data", "diffusion", "correct", "ops"},
    "integrations": {"models", "diffusion", "correct", "evaluate", "checkpoints", "ops"},
    "commands": {
        "phantom",
        "models",
        "data",
        "correct",
        "node",
        "train",
        "evaluate",
        "checkpoints",
        "ops",
        "_native",
        "_op",
        "load",
    },
    "cli": {"commands"},
    "__main__": {"cli", "ops"},
    "__init__": {"correct", "models", "data", "diffusion", "ops"},
}


def sources(repository: Path) -> Iterator[tuple[str, Path]]:
    """(dotted module, file) of everything that ships."""
    for folder, package in (
        (repository / "spectac_fast", "spectac_fast"),
        (repository / "kernels", "spectac_fast.kernels"),
    ):
        for path in sorted(folder.rglob("*.py")):
            yield ".".join([package, *path.relative_to(folder).with_suffix("").parts]), path


def imported(module: str, path: Path) -> Iterator[str]:
    """Dotted names a file imports, relative ones resolved, `from package import name` as package.name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def allowed(module: str) -> set[str]:
    own = module.removeprefix("spectac_fast.")
    while own not in ARROWS and "." in own:
        own = own.rpartition(".")[0]
    return {room(module), *SHARED, *ARROWS.get(own, set())}


def test_every_room_is_known(repository):
    assert {room(module) for module, _ in sources(repository)} - SHARED <= set(ARROWS)


def test_arrows_point_one_way(repository):
    wrong = [
        f"{module} imports {name}"
        for module, path in sources(repository)
        for name in imported(module, path)
        if name.partition(".")[0] == "spectac_fast" and room(name) not in allowed(module)
    ]
    assert not wrong


def test_kernels_need_torch_and_triton_only(repository):
    needed = {"__future__", "torch", "triton", "spectac_fast"}
    for module, path in sources(repository):
        if room(module) == "kernels":
            assert {name.partition(".")[0] for name in imported(module, path)} <= needed, module


def test_one_file_name_per_op(repository):
    ops = {path.stem for path in (repository / "csrc/cpu").glob("*.cpp")}
    assert ops == {path.stem for path in (repository / "csrc/cuda").glob("*.cu")}
    for op in ops:
        assert (repository / "spectac_fast/ops" / f"{op}.py").exists()
        assert (repository / "tests" / f"test_{op}.py").exists()


@pytest.mark.parametrize("folder", ["math", "cpu", "cuda"])
def test_only_glue_knows_torch(repository, folder):
    for path in (repository / "csrc" / folder).iterdir():
        includes = [line for line in path.read_text().splitlines() if line.startswith("#include")]
        assert not [line for line in includes if "torch" in line], path.name
        if folder == "math":
            assert not [line for line in includes if "cuda" in line], path.name


def test_importing_the_package_is_light():
    heavy = ["torch", "pydicom", "skimage", "matplotlib", "nvtx", "scipy", "triton"]
    code = f"import sys, spectac_fast; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_public_names_resolve():
    import spectac_fast

    for name in spectac_fast.__all__:
        assert getattr(spectac_fast, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        spectac_fast.nonsense  # noqa: B018


def test_files_stay_small(repository):
    suffixes = {".py", ".cpp", ".cu", ".h", ".cuh"}
    folders = ("spectac_fast", "kernels", "csrc", "bench")
    files = (p for folder in folders for p in (repository / folder).rglob("*") if p.suffix in suffixes)
    long = {str(p.relative_to(repository)): n for p in files if (n := len(p.read_text().splitlines())) > 320}
    assert not long
