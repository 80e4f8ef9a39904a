"""From DICOM files to what a report shows: for each study its phases, planes and kinds of image, lined up."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.acquisition import claim_of
from spectac_fast.data.inputs import SHARED_UID, Found, Source, find_studies
from spectac_fast.data.lineup import kind_of, lined_up, reconstruction, series_of_study
from spectac_fast.errors import InputError, NoInputError
from spectac_fast.evaluate.report.corrected import anonymous, correct_in_memory, derivation, unusual
from spectac_fast.evaluate.report.map_files import is_map
from spectac_fast.terms import PHASES, PLANES

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from spectac_fast.formats.series import Series
    from spectac_fast.models.translator import Translator


@dataclass(frozen=True, eq=False)
class Stack:
    """One plane in the customary order: SA apex to base, VLA septal to lateral, HLA inferior to anterior.

    counts: [slices, rows, columns]; spacing_mm: (slice, row, column); origin: first voxel's centre, LPS mm; steps:
    rows of [3, 3], from voxel to voxel along (slice, row, column), LPS mm. frame: UID of its frame of reference.
    """

    counts: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    origin: NDArray[np.float64]
    steps: NDArray[np.float64]
    frame: str = ""

    def point(self, index: Sequence[float]) -> NDArray[np.float64]:
        """Index (slice, row, column) -> LPS mm."""
        return self.origin + np.asarray(index, float) @ self.steps

    def index(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """LPS mm -> index (slice, row, column)."""
        return np.linalg.solve(self.steps.T, point - self.origin).astype(np.float64)


@dataclass
class ReportStudy:
    """What is known of one study.

    stacks: {phase: {kind: {plane: stack}}}, phases and planes in customary order. made_by: sentences on what made the
    corrected images. warnings: sentences. files: how many series there are. header: of one of them; None without DICOM.
    series: {kind: {(phase, plane): series}} that the stacks were made of; a corrected one without header was never
    written.
    """

    pseudonym: str
    stacks: dict[str, dict[str, dict[str, Stack]]]
    made_by: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: int = 0
    header: Dataset | None = None
    series: Mapping[str, Mapping[tuple[str, str], Series]] = field(default_factory=dict)


def stack_of(series: Series) -> Stack:
    """A series in counts."""
    steps = np.array(series.spacing_mm)[:, None] * series.directions
    counts = np.asarray(series.counts, np.float32)
    return Stack(counts, series.spacing_mm, np.array(series.position, float), steps, series.frame_of_reference)


def gather(inputs: Sequence[Path], looked: Callable[[], None] | None = None) -> tuple[list[list[Series]], Found]:
    """The series of each study at `inputs`, of every kind, and what was found that is none.

    looked: called for each file.
    Raises NoInputError where there is no short- or long-axis series at all.
    """
    found = find_studies(inputs, looked=looked)
    studies = []
    for sources in found.studies:
        if series := series_of_study(sources, found, _expected):
            studies.append(series)
    if not studies:
        raise NoInputError(f"{', '.join(map(str, inputs))}: expected SA, VLA or HLA series here, found none.")
    return studies, found


def _expected(source: Source, series: Series | None) -> bool:
    """Beside slices lie the transaxial ones that they were cut from, and the map."""
    return series is not None or is_map(source)


def study_of(series: Sequence[Series], translator: Translator | None = None) -> ReportStudy:
    """Line up the series of one study; correct it in memory by `translator` where nothing corrected is at hand.

    translator: the model; where it is the one that made the corrected series, it also says what is unlike its training.
    Raises InputError where there is neither a corrected series nor a model and NC series to correct.
    """
    lineup = lined_up(series)
    by_kind, warnings = lineup.by_kind, [_left_out(one, why) for one, why in lineup.left]
    made_by = list(dict.fromkeys(_joint(derivation(one)) for one in by_kind["corrected"].values()))
    if not by_kind["corrected"] and by_kind["NC"] and translator is not None:
        try:
            made_by = [correct_in_memory(by_kind, translator, warnings)]
        except InputError as reason:
            if not by_kind["physics"]:
                raise
            warnings.append(anonymous(str(reason), by_kind["NC"].values()))
    if not (by_kind["corrected"] or by_kind["physics"]):
        raise InputError(f"{series[0].path}: expected corrected or NC series of this study, found neither.")
    if translator is not None and by_kind["corrected"] and all(translator.weights_sha256 in text for text in made_by):
        warnings += unusual(by_kind, translator)
    reconstructed = [one for kind in ("physics", "AC", "map SD") for one in by_kind[kind].values()]
    made_by += list(dict.fromkeys(said for one in reconstructed if (said := reconstruction(one))))
    stacks: dict[str, dict[str, dict[str, Stack]]] = {}
    for phase in PHASES:
        kinds = {
            kind: {plane: stack_of(of[phase, plane]) for plane in PLANES if (phase, plane) in of}
            for kind, of in by_kind.items()
        }
        if any(kinds.values()):
            stacks[phase] = {kind: planes for kind, planes in kinds.items() if planes}
    for phase, plane in sorted(set(by_kind["corrected"]) - set(by_kind["NC"])):
        warnings.append(f"{phase} {plane}: the NC series it was corrected from is not at hand.")
    notes = [(one, note) for of in by_kind.values() for one in of.values() for note in one.notes]
    told = {f"{one.phase} {one.plane}: {note}" for one, note in notes}
    warnings = [*_joined(notes), *(each for each in dict.fromkeys(warnings) if each not in told)]
    return ReportStudy(pseudonym(series[0]), stacks, made_by, warnings, len(series), series[0].header, by_kind)


def _joint(derivation: str) -> str:
    """A derivation that tells of other planes, in words that are true of all of them: hashes are said once."""
    own = r"Mean of the corrections of this plane and, on the same voxels, of [A-Z, ]+\."
    return re.sub(own, "Mean of the corrections of the planes that hold a voxel.", derivation)


def _joined(notes: Sequence[tuple[Series, str]]) -> list[str]:
    """Notes of series as sentences; one that is due to several planes of a phase names them all."""
    planes: dict[tuple[str, str], set[str]] = {}
    for one, note in notes:
        planes.setdefault((one.phase, note), set()).add(one.plane)
    return [f"{phase} {', '.join(sorted(of, key=PLANES.index))}: {note}" for (phase, note), of in planes.items()]


def _left_out(one: Series, why: str) -> str:
    """The sentence on a series that is not shown; why: as in `Lineup.left`."""
    name, kind = f"{one.phase} {one.plane}", kind_of(one)
    if why:
        return f"{name}: one {kind} series of another acquisition is not shown ({why})."
    return f"{name}: more than one {kind} series, one of them is shown."


def pseudonym(series: Series) -> str:
    """Eight letters that stand for a study: from its UID, and nothing of the UID can be read off them."""
    uid = str(series.header.StudyInstanceUID) if series.header is not None else series.uid
    header = claim_of(series).header
    if SHARED_UID in series.notes and header is not None:
        uid += header.patient
    return hashlib.sha256(f"spectac report {uid}".encode()).hexdigest()[:8]


def needs_model(series: Sequence[Series]) -> bool:
    """Whether nothing corrected is among the series of a study."""
    return not any(kind_of(one) in ("corrected", "physics") for one in series)
