"""Other packages that do the same work, where they are installed or lie in a folder; what is missing, and why."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType

from bench.speed.case import Call

PEERS = ("skimage", "torchmetrics", "pytorch_msssim", "monai", "kornia", "fused_ssim", "triton")
"""Import names whose versions stand beside the numbers."""

_ARCHIVES = {".whl": "zip", ".zip": "zip", ".gz": "gztar"}


def add_folder(folder: Path) -> None:
    """Make importable what lies in a folder: wheels, source archives, source trees, or installed packages.

    Archives are unpacked into a temporary folder first, because compiled modules cannot be imported out of one.
    Installed packages come before those of the folder. Raises NotADirectoryError if there is no such folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"--peers: expected a folder of wheels or sources, found {folder}.")
    trees = [folder]
    for path in sorted(folder.iterdir()):
        if path.suffix in _ARCHIVES:
            unpacked = Path(tempfile.mkdtemp(prefix="peers-"))
            atexit.register(shutil.rmtree, unpacked, ignore_errors=True)
            shutil.unpack_archive(path, unpacked, _ARCHIVES[path.suffix])
            trees += [unpacked, *_folders(unpacked)]
        elif path.is_dir():
            trees.append(path)
    for tree in trees:
        sys.path += [str(place) for place in (tree / "src", tree) if place.is_dir()]


def _folders(tree: Path) -> list[Path]:
    return [path for path in sorted(tree.iterdir()) if path.is_dir()]


def gather(makers: Mapping[str, Callable[[], Call]]) -> tuple[dict[str, Call], dict[str, str]]:
    """(name -> call, name -> why there is none) from functions that import a peer and return the call to measure.

    Any failure counts: a peer that breaks on this machine is as absent as one that is not installed, and is named.
    """
    calls: dict[str, Call] = {}
    missing: dict[str, str] = {}
    for name, make in makers.items():
        try:
            calls[name] = make()
        except Exception as error:
            missing[name] = reason(error)
    return calls, missing


def reason(error: Exception) -> str:
    """One line for the table."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed"
    first = next(iter(str(error).splitlines()), "")
    return f"fails here, {type(error).__name__}: {first}".replace("|", "/")


def versions() -> str:
    """Names and versions of the peers imported so far."""
    present = {name: sys.modules[name] for name in PEERS if name in sys.modules}
    return ", ".join(f"{name} {_version(name, module)}" for name, module in present.items())


def _version(name: str, module: ModuleType) -> str:
    if hasattr(module, "__version__"):
        return module.__version__
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "of unknown version"
