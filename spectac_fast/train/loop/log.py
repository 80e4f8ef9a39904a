"""The run's diary: one JSON object a line, readable while the run goes on, and the same numbers for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class RunLog:
    """Appends to `run`/log.jsonl. On resuming, lines of steps that will be done again are dropped.

    Where TensorBoard is installed (extra "tensorboard"), events go to `run`/tensorboard too.
    """

    def __init__(self, run: Path, from_step: int) -> None:
        self.path = run / "log.jsonl"
        self._board = _board(run / "tensorboard", from_step)
        kept = [entry for entry in self.entries() if entry["step"] <= from_step] if from_step else []
        self.path.write_text("".join(json.dumps(entry) + "\n" for entry in kept))

    def entries(self) -> list[dict[str, Any]]:
        """Every complete line so far."""
        if not self.path.is_file():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines() if line.endswith("}")]

    def write(self, **entry: Any) -> None:
        """Append one entry; `step` is required."""
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        if self._board is not None:
            for name, value in _scalars(entry):
                self._board.add_scalar(name, value, entry["step"])
            # A run that is killed leaves what it has written.
            self._board.flush()


def _board(folder: Path, from_step: int) -> Any:
    """A writer of events, which makes TensorBoard forget steps from `from_step` on; None without TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=from_step + 1 if from_step else None)


def _scalars(entry: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """(name, value) of every number of an entry but its step, nested ones as outer/inner."""
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from _scalars(value, f"{prefix}{key}/")
        elif key != "step":
            yield prefix + key, value
