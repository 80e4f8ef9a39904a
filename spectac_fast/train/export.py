"""The end of a run: the averaged weights as a file to ship, with a card that says where they come from."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spectac_fast._version import __version__
from spectac_fast.cohort.pairs import pairs_sha256
from spectac_fast.outputs import appearing


def half_precision(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point tensors as float16: half the file, and a relative error of 5e-4 that training noise exceeds."""
    return {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}


def source_commit() -> str | None:
    """Commit of the source tree this runs from, with "+" if files differ from it; None outside of a repository."""
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def seed_ranges(seeds: Sequence[int]) -> list[list[int]]:
    """Sorted seeds as inclusive runs: [1, 2, 3, 7] -> [[1, 3], [7, 7]]."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][1] + 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    return runs


def trained_on(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Which patients: "training_seeds" of synthetic ones, "training_pairs_sha256" of others, no more of them."""
    seeds = [case["seed"] for case in cases if "seed" in case]
    others = pairs_sha256(cases)
    said: dict[str, Any] = {"training_seeds": seed_ranges(seeds)} if seeds else {}
    return said | ({"training_pairs_sha256": others} if others else {})


def loss_summary(log: Sequence[dict[str, Any]], points: int = 20) -> list[dict[str, float]]:
    """About `points` evenly spaced entries of the loss curve."""
    curve = [entry for entry in log if "loss" in entry]
    stride = max(1, len(curve) // points)
    return [{"step": entry["step"], "loss": entry["loss"]} for entry in curve[stride - 1 :: stride]]


def surroundings() -> dict[str, Any]:
    """What the run ran on: versions, commit, machine kind, day."""
    return {
        "spectac_fast": __version__,
        "commit": source_commit(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "date": date.today().isoformat(),
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON by atomic rename."""
    with appearing(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n")
