"""What reading gave, and what became of a study: passed on between the stages of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectac_fast.correct.manifest import Entry
from spectac_fast.correct.study import Prepared
from spectac_fast.data.study import Study


@dataclass(frozen=True)
class Corrected:
    """What became of one study, or of files that belong to none.

    sources: its files. study: the NC series that were corrected. counts: float32 [slices, rows, columns] for each,
    corrected, in the source's geometry. uncertainty: their standard deviation, where it was asked for; widening: what
    that of each was multiplied by because of the error expected of it. partners: for each the numbers of the series it
    was averaged with. written: the files made of them, if any were asked for. finished: an earlier run had written
    them; then study and counts are empty. skipped, failed: one sentence for each other source. warnings: one for
    everything unusual about what was corrected. seconds: spent reading and writing.
    """

    sources: tuple[Path, ...] = ()
    study: Study = field(default_factory=lambda: Study(()))
    counts: tuple[NDArray[np.float32], ...] = ()
    uncertainty: tuple[NDArray[np.float32], ...] = ()
    widening: tuple[float, ...] = ()
    partners: tuple[tuple[int, ...], ...] = ()
    written: tuple[Path, ...] = ()
    finished: bool = False
    skipped: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    status = "corrected"


@dataclass
class Read:
    """What reading gave. unread: a source could not be opened, which may be otherwise another time."""

    study: Study
    prepared: Prepared | None = None
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    unread: bool = False
    entry: Entry | None = None
    seconds: float = 0.0
