"""One NM multi-frame reconstruction file -> `Series`, or one sentence that says why not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast.errors import InputError, NotApplicableError
from spectac_fast.formats.dicom.depth import check_depth
from spectac_fast.formats.dicom.elements import PATIENT_STATE, STATE_CODES, VIEW_CODES
from spectac_fast.formats.dicom.geometry import cosines_of, place_of, shows
from spectac_fast.formats.dicom.kind.frames import check_frames, frame_notes, pixel_notes
from spectac_fast.formats.dicom.kind.objects import check_kind
from spectac_fast.formats.dicom.kind.tracer import tracer_notes
from spectac_fast.formats.dicom.parse import parse, sentences
from spectac_fast.formats.dicom.patient import IDENTITY, identity, lying
from spectac_fast.formats.dicom.values.counts import Counted, counts_of, judged
from spectac_fast.formats.dicom.values.pixels import PIXEL_ELEMENTS
from spectac_fast.formats.evidence.phase import phase_of
from spectac_fast.formats.evidence.weigh import weighed
from spectac_fast.formats.names import plane_in, posture_note, texts_of
from spectac_fast.formats.series import NOTHING, Series, Told

_PLANE_OF_VIEW = {value: plane for (_, value), plane in VIEW_CODES.items()}
_PHASE_OF_STATE = {value: phase for (_, value), phase in STATE_CODES.items()}
_SLICE_VECTOR = 0x00540080
TRANSAXIAL = "TRA"


def read_series(path: Path | str, content: bytes | None = None, *, force: bool = False, told: Told = NOTHING) -> Series:
    """Read one NM RECON TOMO multi-frame file, attenuation-corrected or not.

    Slices come as those of their plane are shown, whichever way the file stores them (`formats.orientation`). The
    counts are what the header maps the stored values to (`values.counts`).
    content: the bytes of the file where they are known already or lie in an archive; `path` then only names them.
    force: read transaxial slices too, as plane "TRA", and those of other nuclides and tracers. told: phase and kind
        where the user says them.

    Raises:
        NoInputError: no such file.
        NotApplicableError: a sound DICOM file of another kind (other modality, projections, gated, transmission,
            transaxial, of a nuclide or tracer whose correction would mean nothing).
        InputError: not DICOM, truncated, or without usable pixels, geometry, plane or phase.
    """
    path = Path(path)
    with sentences(path):
        ds = parse(path, content)
        check_depth(ds, path)
        check_kind(ds, path)
        check_frames(ds, path)
        return series_of(ds, path, counts_of(ds, path), force=force, told=told)


def series_of(
    ds: Dataset, path: Path, frames: Counted, *, force: bool, told: Told, instances: tuple[str, ...] = ()
) -> Series:
    """The series in a multi-frame data set, which loses its pixels; to be called within `sentences`.

    frames: its counts in stored order.
    """
    frames = judged(frames, path)
    order = np.argsort(slice_numbers(ds, path))
    made = (*tracer_notes(ds, path, force=force), *pixel_notes(ds), *frame_notes(ds, frames.counts[order], path))
    cosines = cosines_of(ds, path)
    texts = texts_of(ds, path)
    plane, contradicted = _plane(ds, path, texts, cosines, force)
    place = place_of(ds, path, plane, cosines, order)
    phase, notes = stated_phase(ds, path, told)
    series = Series(
        counts=frames.counts[order],
        plane=plane,
        phase=phase,
        pixel_mm=place.pixel_mm,
        slice_mm=place.slice_mm,
        orientation=place.orientation,
        position=place.position,
        attenuation_corrected=True,
        path=path,
        header=ds,
        instances=instances,
        step=frames.step,
        padding=None if frames.padding is None else frames.padding[order],
        assumed=place.assumed,
        notes=(*frames.notes, *contradicted, *place.notes, *posture_note(lying(ds)[0]), *notes, *made),
    )
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        if not re.fullmatch(r"[0-9.]{1,64}", str(ds.get(keyword, ""))):
            raise InputError(f"{path}: expected a valid {keyword}, found none.")
    # Asked for where no reader's exception becomes a sentence any more.
    str(ds.get("FrameOfReferenceUID"))
    for keyword in PIXEL_ELEMENTS:
        if keyword in ds:
            del ds[keyword]
    return weighed(series.turned(place.turn), told)


def glance(path: Path | str, content: bytes | None = None) -> tuple[str, str, int]:
    """Study Instance UID ("" if none), patient (`patient.identity`) and number of frames of any DICOM file, without
    its pixels.

    content: as for `read_series`. Raises as `read_series` does for a file that is missing, not DICOM or damaged.
    """
    path = Path(path)
    with sentences(path):
        wanted = ["StudyInstanceUID", "NumberOfFrames", "SpecificCharacterSet", *IDENTITY]
        ds = parse(path, content, specific_tags=wanted, stop_before_pixels=True)
        return str(ds.get("StudyInstanceUID", "")), identity(ds), int(ds.get("NumberOfFrames") or 1)


def instance_uid(path: Path, content: bytes) -> str:
    """The SOP Instance UID of a DICOM file, "" if none; raises as `glance`."""
    with sentences(path):
        ds = parse(path, content, specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
        return str(ds.get("SOPInstanceUID", ""))


def slice_numbers(ds: Dataset, path: Path) -> NDArray[np.int64]:
    """For each stored frame its slice, counted from 0: the Slice Vector, or the stored order where there is none."""
    frames = int(ds.get("NumberOfFrames") or 1)
    pointer = ds.get("FrameIncrementPointer")
    pointers = [pointer] if isinstance(pointer, int) else list(pointer or [_SLICE_VECTOR])
    vector = ds.get("SliceVector")
    numbers = np.arange(1, frames + 1) if vector is None else np.atleast_1d(np.asarray(vector, np.int64))
    if pointers != [_SLICE_VECTOR] or not np.array_equal(np.sort(numbers), np.arange(1, frames + 1)):
        raise InputError(f"{path}: expected frames that run through the slices once, found another Slice Vector.")
    return numbers - 1


def _plane(
    ds: Dataset, path: Path, texts: list[str], cosines: Mapping[str, tuple[float, ...]], force: bool
) -> tuple[str, tuple[str, ...]]:
    """The plane, and a sentence where the series' own name contradicts its code."""
    coded, named = _coded_plane(ds), plane_in(texts[:2])
    if coded and named not in (None, coded):
        fits = [plane for plane in (coded, named) if shows(cosines, plane)]
        plane = fits[0] if len(fits) == 1 else coded
        why = f", by the directions of its frames {plane}" if len(fits) == 1 else ""
        return plane, (f"its view code says {coded}, its description {named}{why}; taken as {plane}.",)
    return coded or _named_plane(ds, path, texts, cosines, force), ()


def _coded_plane(ds: Dataset) -> str | None:
    for item in (*(ds.get("DetectorInformationSequence") or ()), ds):
        for view in item.get("ViewCodeSequence") or ():
            if view.get("CodeValue") in _PLANE_OF_VIEW:
                return _PLANE_OF_VIEW[view.CodeValue]
    return None


def _named_plane(
    ds: Dataset, path: Path, texts: list[str], cosines: Mapping[str, tuple[float, ...]], force: bool
) -> str:
    plane = plane_in(texts)
    if plane is None and str(ds.get("SliceProgressionDirection", "")) in ("APEX_TO_BASE", "BASE_TO_APEX"):
        plane = "SA"
    if plane is not None:
        return plane
    if any(abs(np.cross(each[:3], each[3:])[2]) > 0.99 for each in cosines.values()):
        if force:
            return TRANSAXIAL
        raise NotApplicableError(
            f"{path}: expected slices reoriented along the heart (SA, VLA or HLA), found transaxial slices."
        )
    raise InputError(f"{path}: expected SA, VLA or HLA in the view code, series description or file name, found none.")


def stated_phase(ds: Dataset, path: Path, told: Told) -> tuple[str, tuple[str, ...]]:
    """The phase, and what was assumed for it."""
    found = phase_of(ds, path, _coded_phase(ds))
    phase = told.phase or found.phase
    if phase is None:
        raise InputError(f"{path}: expected to be told stress or rest, found that {found.clause}; --phase says it.")
    if told.phase:
        against = found.phase not in (None, told.phase)
        return phase, ((f"taken as {phase} because the user says so, although {found.clause}.",) if against else ())
    return phase, ((f"taken as {phase}: {found.clause}.",) if found.assumed else ())


def _coded_phase(ds: Dataset) -> str | None:
    for item in ds.get("AcquisitionContextSequence") or ():
        names, states = item.get("ConceptNameCodeSequence") or [], item.get("ConceptCodeSequence") or []
        if names and states and names[0].get("CodeValue") == PATIENT_STATE[1]:
            phase = _PHASE_OF_STATE.get(states[0].get("CodeValue"))
            if phase:
                return phase
    return None
