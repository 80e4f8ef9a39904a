"""The run's diary: one JSON object a line, readable while the run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class RunLog:
    """Appends to `run`/log.jsonl. On resuming, lines of steps that will be done again are dropped."""

    def __init__(self, run: Path, from_step: int) -> None:
        self.path = run / "log.jsonl"
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
