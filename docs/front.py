"""The pictures that README and the tutorial show, made anew from the bundled studies: python docs/front.py [--check].

Each remembers, in the text of its PNG, a digest of what it shows: the studies, the weights, and the code that draws.
With --check nothing is made; the exit status says whether all are current.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "spectac_fast"
KEY = "spectac_fast inputs SHA-256"
_SHOWN = ["data/demo/**/*", "weights/bbdm64.*"]
_DRAWN = ["evaluate/figures/*.py", "evaluate/study_scores.py"]
_PHYSICS = ["correct/physics/*.py", "reconstruct/**/*.py", "models/mumap.py", "weights/mumap64.*"]
_REPORT = ["evaluate/report/**/*", "evaluate/regional/*"]
# Picture -> (where the demo leaves it, what it shows below the package).
PICTURES = {
    "demo-stress.png": ("stress.png", [*_SHOWN, *_DRAWN]),
    "patient.png": ("patient/patient.png", [*_SHOWN, *_DRAWN, *_PHYSICS]),
    "map.png": ("patient/map.png", ["data/demo/**/*", "evaluate/figures/maps.py", *_PHYSICS]),
    "explained.png": ("explained/explain-stress.png", [*_SHOWN, "evaluate/explanation.py", "models/explain.py"]),
    "report.png": ("report.png", [*_SHOWN, *_DRAWN, *_REPORT]),
}


def digest(patterns: list[str], package: Path = PACKAGE) -> str:
    """SHA-256 of the files that match below the package, by name and content; of code without comments."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in package.glob(pattern) if path.is_file()}):
        if "__pycache__" not in path.parts and path.suffix != ".md":
            total.update(path.relative_to(package).as_posix().encode() + b"\0")
            content = _said(path.read_text(encoding="utf-8")).encode() if path.suffix == ".py" else path.read_bytes()
            total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


def _said(code: str) -> str:
    """The lines of Python code, without comments and blank ones."""
    lines = (line.strip() for line in code.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def stale(folder: Path = ROOT / "docs") -> Iterator[str]:
    """The names of the pictures in `folder` that are older than what they show."""
    for name, (_, patterns) in PICTURES.items():
        with Image.open(folder / name) as image:
            if image.info.get(KEY) != digest(patterns):
                yield name


def make(folder: Path = ROOT / "docs") -> None:
    """All of them, by the command line."""
    with tempfile.TemporaryDirectory() as work:
        demo = Path(work) / "demo"
        report = ["report", demo / "input", demo / "corrected", "-o", demo / "report.html", "--png"]
        explain = ["explain", demo / "input" / "stress_SA_NC.dcm", "-o", demo / "explained"]
        for words in (["demo", "-o", demo], report, explain):
            subprocess.run([sys.executable, "-m", "spectac_fast.cli", *map(str, words)], cwd=ROOT, check=True)
        for name, (made, patterns) in PICTURES.items():
            said = PngInfo()
            said.add_text(KEY, digest(patterns))
            with Image.open(demo / made) as image:
                image.save(folder / name, pnginfo=said, dpi=image.info.get("dpi"), optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say, by the exit status, whether they are current")
    if parser.parse_args().check:
        sys.exit(", ".join(stale()) or 0)
    make()
