"""The rooms of the package and the arrows between them: who may import whom."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

PLAN = json.loads((ROOT / "docs" / "rooms.json").read_text())
SHARED = set(PLAN["shared"])
# Room -> rooms it may import. What is not listed is not a room, and fails.
ARROWS = {name: set(room["imports"]) for name, room in PLAN["rooms"].items()}
# More would not be seen at a glance.
MOST_FILES = 14


def python_files(folder: Path, package: str) -> dict[str, Path]:
    """Dotted module -> file of everything below a folder."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)])] = path
    return found


def sources(repository: Path) -> dict[str, Path]:
    """Dotted module -> file of everything that ships."""
    package = python_files(repository / "spectac_fast", "spectac_fast")
    return package | python_files(repository / "kernels", "spectac_fast.kernels")


def imported(module: str, path: Path) -> Iterator[str]:
    """Dotted names a file imports anywhere, in functions too; `from package import name` as package.name."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports(files: dict[str, Path]) -> dict[str, set[str]]:
    """Module -> modules among the files that it imports; a name of a module counts as that module."""
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        found = set()
        for name in imported(module, path):
            while name and name not in files:
                name = name.rpartition(".")[0]
            found.add(name)
        graph[module] = found - {"", module}
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A way from a module back to itself, or nothing: what no order can put in a line."""
    waiting = {module: set(needed) for module, needed in graph.items()}
    while ready := [module for module, needed in waiting.items() if not needed & waiting.keys()]:
        for module in ready:
            del waiting[module]
    if not waiting:
        return []
    way = [min(waiting)]
    while way[-1] not in way[:-1]:
        way.append(min(waiting[way[-1]] & waiting.keys()))
    return way[way.index(way[-1]) :]


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def test_every_room_is_known(repository):
    assert {room(module) for module in sources(repository)} - SHARED == set(ARROWS)


def test_arrows_point_one_way(repository):
    wrong = [
        f"{module} imports {name}"
        for module, needed in imports(sources(repository)).items()
        for name in needed
        if room(name) not in {room(module), *SHARED, *ARROWS.get(room(module), set())}
    ]
    assert not wrong


def test_no_room_is_above_itself():
    assert circle(ARROWS) == []


def test_what_is_allowed_is_needed(repository):
    used: dict[str, set[str]] = {name: set() for name in ARROWS}
    for module, needed in imports(sources(repository)).items():
        if room(module) in used:
            used[room(module)] |= {room(name) for name in needed}
    # Found by name, when they are first needed.
    used["ops"].add("kernels")
    used["cli"].add("commands")
    assert {name: allowed - used[name] for name, allowed in ARROWS.items() if allowed - used[name]} == {}


def test_modules_import_in_no_circle(repository):
    assert circle(imports(sources(repository))) == []
    assert circle(imports(python_files(repository / "bench", "bench"))) == []


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_a_folder_is_seen_at_a_glance(repository):
    suffixes = {".py", ".cpp", ".cu", ".h", ".cuh"}
    folders: dict[str, int] = {}
    for top in ("spectac_fast", "kernels", "csrc", "bench", "tests", "docs", "examples"):
        for path in (repository / top).rglob("*"):
            if path.suffix in suffixes and "results" not in path.parts:
                folder = str(path.parent.relative_to(repository))
                folders[folder] = folders.get(folder, 0) + 1
    assert {folder: count for folder, count in folders.items() if count > MOST_FILES} == {}


def test_every_room_says_what_it_is(repository):
    for folder in (repository / "spectac_fast").rglob("__init__.py"):
        said = ast.get_docstring(ast.parse(folder.read_text()))
        assert said, folder
        if folder.parent.parent.name == "spectac_fast" and folder.parent.name in ARROWS:
            assert len([part for part in said.replace("\n", " ").split(". ") if part.strip()]) >= 3, folder


def test_kernels_need_torch_and_triton_only(repository):
    needed = {"__future__", "torch", "triton", "spectac_fast"}
    for module, path in sources(repository).items():
        if room(module) == "kernels":
            assert {name.partition(".")[0] for name in imported(module, path)} <= needed, module


def test_one_file_name_per_op(repository):
    ops = {path.stem for path in (repository / "csrc/cpu").glob("*.cpp")}
    assert ops == {path.stem for path in (repository / "csrc/cuda").glob("*.cu")}
    for op in ops:
        assert (repository / "spectac_fast/ops" / f"{op}.py").exists()
        assert (repository / "tests" / "ops" / f"test_{op}.py").exists()


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
