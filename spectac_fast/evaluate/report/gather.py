"""From DICOM files to what a report shows: for each study its phases, planes and kinds of image, lined up."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.acquisition import apart, claim_of
from spectac_fast.data.inputs import SHARED_UID, Found, Source, find_studies
from spectac_fast.data.settle import settled
from spectac_fast.errors import InputError, NoInputError, SpectacError
from spectac_fast.evaluate.report.corrected import anonymous, correct_in_memory, derivation, unusual
from spectac_fast.evaluate.report.map_files import is_map
from spectac_fast.formats.dicom.derivation import UNMEASURED, reconstruction_of
from spectac_fast.terms import PHASES, PLANES

if TYPE_CHECKING:
    from spectac_fast.formats.series import Series
    from spectac_fast.models.translator import Translator

# Kinds of image, in the order in which they are shown: "corrected" is made of NC images, "physics" reconstructed with a
# map that nobody measured; AC is what a CT gave, where there was one.
KINDS = ("NC", "corrected", "physics", "AC", "SD")


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
        return np.linalg.solve(self.steps.T, point - self.origin)


@dataclass
class ReportStudy:
    """What is known of one study.

    stacks: {phase: {kind: {plane: stack}}}, phases and planes in customary order. made_by: sentences on what made the
    corrected images. warnings: sentences. sources: number of files. header: of one series, for a capture; None without
    DICOM.
    """

    pseudonym: str
    stacks: dict[str, dict[str, dict[str, Stack]]]
    made_by: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: int = 0
    header: object | None = None


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
        series = [one for source in sources if (one := _read(source, found)) is not None]
        if series:
            studies.append(_settled(series))
    if not studies:
        raise NoInputError(f"{', '.join(map(str, inputs))}: expected SA, VLA or HLA series here, found none.")
    return studies, found


def study_of(series: Sequence[Series], translator: Translator | None = None) -> ReportStudy:
    """Line up the series of one study; correct it in memory by `translator` where nothing corrected is at hand.

    translator: the model; where it is the one that made the corrected series, it also says what is unlike its training.
    Raises InputError where there is neither a corrected series nor a model and NC series to correct.
    """
    by_kind, warnings = _chosen(series)
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
    reconstructed = [one for kind in ("physics", "AC") for one in by_kind[kind].values()]
    made_by += list(dict.fromkeys(said for one in reconstructed if (said := _reconstruction(one))))
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
    return ReportStudy(pseudonym(series[0]), stacks, made_by, warnings, len(series), getattr(series[0], "header", None))


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


def _chosen(series: Sequence[Series]) -> tuple[dict[str, dict[tuple[str, str], Series]], list[str]]:
    """What is shown of a study, by kind, phase and plane: of each phase one acquisition, that of the first corrected
    series if there is one, and of several series of a kind that which was corrected; and sentences on the rest.
    """
    by_kind: dict[str, dict[tuple[str, str], Series]] = {kind: {} for kind in KINDS}
    warnings = []
    for phase in PHASES:
        mine = [one for one in series if one.phase == phase]
        made = [one for one in mine if kind_of(one) == "corrected"]
        claims = {one: claim_of(one) for one in mine}
        # What would be corrected leads, not what a CT corrected.
        order = sorted(made or mine, key=lambda one: (kind_of(one) == "AC", one.plane != PLANES[0]))
        lead = next(iter(order), None)
        for one in made + [one for one in mine if one not in made]:
            why = apart(claims[lead], claims[one])
            name = f"{phase} {one.plane}"
            if why:
                warnings.append(f"{name}: one {kind_of(one)} series of another acquisition is not shown ({why}).")
                continue
            of = by_kind[kind_of(one)]
            kept = of.setdefault((phase, one.plane), one)
            if kept is one:
                continue
            warnings.append(f"{name}: more than one {kind_of(one)} series, one of them is shown.")
            shown = by_kind["corrected"].get((phase, one.plane))
            if shown is not None and _source_of(shown) in _uids(one):
                of[phase, one.plane] = one
    return by_kind, warnings


def pseudonym(series: Series) -> str:
    """Eight letters that stand for a study: from its UID, and nothing of the UID can be read off them."""
    uid = str(series.header.StudyInstanceUID) if series.header is not None else series.uid
    if SHARED_UID in series.notes:
        uid += claim_of(series).header.patient
    return hashlib.sha256(f"spectac report {uid}".encode()).hexdigest()[:8]


def _settled(series: Sequence[Series]) -> list[Series]:
    """Series of a study, each as it lies; what was derived from another one at hand lies as that does."""
    plain = [one for one in series if kind_of(one) in ("NC", "physics", "AC")]
    found = dict(zip(plain, settled(plain)))
    leads = {uid: one for one in found.values() for uid in _uids(one)}
    made = [one for one in series if kind_of(one) == "corrected" and _source_of(one) not in leads]
    leads |= {_source_of(one): one for one in settled(made)}
    return [found.get(one) or _as(one, leads.get(_source_of(one), one)) for one in series]


def _as(one: Series, lead: Series) -> Series:
    """A derived series, read in the order in which its source, or another one derived from that, is read."""
    again = one.reread(one.turn.inverse.then(lead.turn))
    if one.plane != lead.plane or again.counts.shape != lead.counts.shape:
        return one
    return replace(
        again,
        pixel_mm=lead.pixel_mm,
        slice_mm=lead.slice_mm,
        orientation=lead.orientation,
        position=lead.position,
        notes=(),
    )


def _source_of(one: Series) -> str:
    """The UID of the object that a derived series was made from, "" where it does not say."""
    sources = (one.header.get("SourceImageSequence") or ()) if one.header is not None else ()
    return str(next(iter(sources)).get("ReferencedSOPInstanceUID") or "") if sources else ""


def _uids(one: Series) -> set[str]:
    return {*one.instances, str(one.header.SOPInstanceUID)} if one.header is not None else set()


def _read(source: Source, found: Found) -> Series | None:
    try:
        series = source.series(source.contents(), force=True)
    except SpectacError as reason:
        if not is_map(source):
            found.skipped.append(str(reason))
        return None
    if series.doubt:
        found.skipped.append(f"{series.path}: it is open whether this is NC or AC: {series.doubt}.")
    return series if series.plane in PLANES and not series.doubt else None


def kind_of(series: Series) -> str:
    """Which of `KINDS` a series is."""
    description = str(series.header.get("SeriesDescription") or "") if series.header is not None else ""
    if description.endswith("DL-AC SD"):
        return "SD"
    if description.endswith("DL-AC"):
        return "corrected"
    if not series.attenuation_corrected:
        return "NC"
    return "physics" if UNMEASURED.search(_reconstruction(series)) else "AC"


def _reconstruction(series: Series) -> str:
    return reconstruction_of(series.header) if series.header is not None else ""


def needs_model(series: Sequence[Series]) -> bool:
    """Whether nothing corrected is among the series of a study."""
    return not any(kind_of(one) in ("corrected", "physics") for one in series)
