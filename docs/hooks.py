"""What mkdocs needs beside the pages: pictures that live elsewhere in the repository, or are drawn when it is built."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
from formulas import typeset

ROOT = Path(__file__).parents[1]
DRAWN = ROOT / "build" / "pictures"
ELSEWHERE = {
    "pictures/demo-stress.png": "docs/demo-stress.png",
    "pictures/report.png": "docs/report.png",
    "pictures/explained.png": "docs/explained.png",
    "pictures/patient.png": "docs/patient.png",
    "pictures/map.png": "docs/map.png",
    "pictures/cohort.png": "bench/results/cohort.png",
    "pictures/evaluations.png": "bench/results/quality-cost/plot_cpu.png",
}


def on_page_markdown(markdown: str, **_: object) -> str:
    """Formulas as MathML, which browsers set without a script."""
    return typeset(markdown)


def on_files(files: Files, config) -> Files:
    """Add the pictures; drawn in a process of their own, because they load the model."""
    subprocess.run([sys.executable, ROOT / "docs" / "pictures.py", DRAWN], check=True)
    paths = {name: ROOT / path for name, path in ELSEWHERE.items()}
    paths |= {f"pictures/{path.name}": path for path in sorted(DRAWN.glob("*.svg"))}
    for name, path in paths.items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files
