"""What became of the inputs, for a person and for a program."""

from __future__ import annotations

import glob
import json
import platform
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from spectac_fast._version import __version__
from spectac_fast.correct.engines.memory import resident_bytes
from spectac_fast.errors import SetupError, SpectacError
from spectac_fast.outputs import NOTICE, OWN, Kind, Permit, appearing

if TYPE_CHECKING:
    from spectac_fast.correct.corrector import Corrector
    from spectac_fast.correct.outcome import Corrected
    from spectac_fast.correct.physics.reconstructor import Reconstructed, Reconstructor

FORMAT = 1


@dataclass
class Report:
    """What became of the inputs: files written, sentences for skipped and failed ones, and the time in the model.

    written: files of this run. finished: files that an earlier run had finished. studies, series, slices: corrected
    in this run. seconds: in the model. waited: for which the model had nothing to do. halvings: batch sizes that memory
    did not suffice for. interrupted: the run was stopped before its end.
    """

    written: list[Path] = field(default_factory=list)
    finished: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    studies: int = 0
    series: int = 0
    slices: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    halvings: list[int] = field(default_factory=list)
    interrupted: bool = False
    entries: list[dict[str, Any]] = field(default_factory=list)
    started: float = field(default_factory=time.time)

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some failed, 130 interrupted."""
        return 130 if self.interrupted else 1 if self.failed else 0

    def add(self, result: Corrected | Reconstructed) -> None:
        """Count one study, or one file that belongs to none."""
        self.skipped += result.skipped
        self.failed += result.failed
        (self.finished if result.finished else self.written).extend(result.written)
        if result.written and not result.finished:
            self.studies += 1
            self.series += len(result.counts)
            self.slices += sum(map(len, result.counts))
        status = "finished before" if result.finished else f"{'' if result.written else 'not '}{result.status}"
        self.entries.append(
            {
                "sources": [str(path) for path in result.sources],
                "status": status,
                "files": [str(path) for path in result.written],
                "skipped": list(result.skipped),
                "failed": list(result.failed),
                "warnings": list(result.warnings),
                "seconds": {stage: round(value, 4) for stage, value in result.seconds.items()},
            }
        )

    def write(
        self, path: Path, by: Corrector | Reconstructor, error: SpectacError | None = None, permit: Permit = OWN
    ) -> None:
        """Write everything as JSON to `path`, whole or not at all; SetupError where that is not possible or allowed.

        error: what the run ended with, if it did not get to its end. permit: what may be replaced.
        """
        ended = time.time()
        content = {
            "format": FORMAT,
            "notice": NOTICE,
            "versions": {"spectac_fast": __version__, "python": platform.python_version(), "torch": torch.__version__},
            "started": _moment(self.started),
            "seconds": round(ended - self.started, 3),
            "exit_code": error.exit_code if error else self.exit_code,
            "interrupted": self.interrupted,
            "error": str(error) if error else None,
            **by.describe(),
            "studies_corrected": self.studies,
            "slices_corrected": self.slices,
            "files_written": len(self.written),
            "files_finished_before": len(self.finished),
            "files_skipped": len(self.skipped),
            "failed": len(self.failed),
            "seconds_in_model": round(self.seconds, 3),
            "seconds_model_waited": round(self.waited, 3),
            "batch_sizes_that_did_not_fit": self.halvings,
            "largest_resident_mib": (resident_bytes() or 0) >> 20 or None,
            "studies": self.entries,
        }
        # What was free when the run began may be taken by what the run has written.
        sentence = permit.obstacle(path, Kind.JSON)
        if sentence:
            raise SetupError(sentence)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in path.parent.glob(f".{glob.escape(path.name)}.tmp-*"):
                left.unlink(missing_ok=True)
            with appearing(path) as part:
                part.write_text(json.dumps(content, indent=1) + "\n")
        except OSError as failure:
            raise SetupError(f"{path}: the report cannot be written here ({failure.strerror}).") from failure


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
