"""Projections in folders: those of `spectac phantom --projections`, or a department's own NM TOMO files. Networks of
views and counts learn from them, and need nobody to say what is right.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spectac_fast.data.search import dicom_files
from spectac_fast.errors import InputError, NotApplicableError
from spectac_fast.formats.dicom import file_content
from spectac_fast.formats.dicom.tomo.read import read_projections
from spectac_fast.formats.projections import Projections
from spectac_fast.reconstruct.acquired import Acquired
from spectac_fast.reconstruct.camera import Collimator


class ViewCohort:
    """Read access to all projections below some folders.

    cases: one per synthetic patient, with its "seed", or per file, with the "sha256" of its counts. Other DICOM files
    are passed over. skipped: a sentence for every file of projections that cannot be read. spacing_mm: what a bin's
    side is in most of them, three times. Raises InputError for folders without projections.
    """

    kinds = ("COUNTS",)

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders, self.skipped = tuple(folders), list[str]()
        self.cases: list[dict[str, Any]] = []
        self._found: list[list[Acquired]] = []
        for folder in self.folders:
            seeds = _seeds(folder)
            for path in dicom_files(folder, self.skipped.append)[0]:
                if (found := self._read(path)) is not None:
                    self._add(found, next((seeds[part] for part in path.parts if part in seeds), None))
        if not self.cases:
            where = ", ".join(map(str, self.folders))
            raise InputError(f"{where}: expected projections (NM TOMO), found none.")
        sides = [found.pixel_mm for case in self._found for found in case]
        self.spacing_mm = (float(np.median(sides)),) * 3

    def __len__(self) -> int:
        return len(self.cases)

    def acquisitions(self, case: int) -> list[Acquired]:
        """The photopeak of every acquisition of a case, in whole counts, as Poisson's law has them."""
        return self._found[case]

    def _read(self, path: Path) -> Acquired | None:
        try:
            return _acquired(read_projections(path, file_content(path)))
        except NotApplicableError:
            return None
        except InputError as reason:
            self.skipped.append(str(reason))
            return None

    def _add(self, found: Acquired, seed: int | None) -> None:
        digest = hashlib.sha256(found.counts.numpy().tobytes()).hexdigest()
        case = {"seed": seed} if seed is not None else {"sha256": digest}
        if case in self.cases:
            # A synthetic patient's other phase; the same file twice counts once.
            if seed is not None:
                self._found[self.cases.index(case)].append(found)
            return
        self.cases.append(case)
        self._found.append([found])


def _seeds(folder: Path) -> dict[str, int]:
    """Seeds of the synthetic patients of a cohort, by the names of their folders."""
    try:
        cases = json.loads((folder / "cohort.json").read_text())["cases"]
        return {f"case-{case['seed']}": int(case["seed"]) for case in cases}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _acquired(projections: Projections) -> Acquired:
    return Acquired(
        torch.from_numpy(np.rint(projections.peak.columns)),
        tuple(projections.angles.tolist()),
        tuple(projections.radius_mm.tolist()),
        projections.pixel_mm,
        Collimator(),
    )
