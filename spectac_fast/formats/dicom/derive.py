"""Derived NM objects from their source: same patient, geometry and dates, new pixels, and a header that says so."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast._version import __version__
from spectac_fast.errors import InputError
from spectac_fast.formats.dicom.derivation import (
    CORRECTED,
    CORRECTION,
    DEVIATION,
    DOUBTFUL,
    RESEARCH,
    TRANSAXIAL,
    averaged,
)
from spectac_fast.formats.dicom.elements import code, encoded_sha256, plain, stable_uid
from spectac_fast.formats.dicom.patient import keep_codes_alone
from spectac_fast.formats.dicom.read import slice_numbers
from spectac_fast.formats.dicom.values.store import Words, put_words, words_of

if TYPE_CHECKING:
    from spectac_fast.formats.series import Provenance, Series

# Standard deviations are a few counts: they keep a thousandth of one where they fit.
_FINEST_DEVIATION = 2.0**-10
# What an Integer String holds.
_LARGEST_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class _Kind:
    """What tells one kind of derived series from another: its names, its numbers and its sentences."""

    mark: str
    role: str
    series_offset: int
    comment: str
    description: str
    contribution: str
    values: str


_CORRECTED = _Kind(
    mark="DL-AC",
    role="derived",
    series_offset=9000,
    comment="ESTIMATED attenuation correction (no CT). Compare with the source NC series.",
    description=CORRECTION,
    contribution="Image-domain attenuation correction",
    values="Corrected counts",
)
_UNCERTAINTY = _Kind(
    mark="DL-AC SD",
    role="uncertainty",
    series_offset=19000,
    comment="UNCERTAINTY of an estimated attenuation correction: standard deviation in counts, no perfusion image.",
    description=DEVIATION,
    contribution="Uncertainty of image-domain attenuation correction",
    values="Standard deviation of corrected counts",
)

# True of the source's pixels only, or meaningless beside new ones.
_STALE = (
    "IconImageSequence",
    "ReferencedImageSequence",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "VOILUTSequence",
    "ModalityLUTSequence",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "SmallestImagePixelValueInPlane",
    "LargestImagePixelValueInPlane",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "FloatPixelPaddingValue",
    "FloatPixelPaddingRangeLimit",
    "DoubleFloatPixelPaddingValue",
    "DoubleFloatPixelPaddingRangeLimit",
    "WindowCenterWidthExplanation",
)
_PLACES = ("ImageOrientationPatient", "ImagePositionPatient")
# Written anew below; a source may give them another VR than the standard does, which a new value must not keep.
_RENEWED = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "ImageType",
    "SeriesNumber",
    "SeriesDescription",
    "CorrectedImage",
    "CountsAccumulated",
    "BurnedInAnnotation",
    "ImageComments",
    "SourceImageSequence",
    "DerivationDescription",
    "ContributingEquipmentSequence",
)


def derive_corrected(
    series: Series, counts: NDArray, provenance: Provenance | None, others: Sequence[Series] = ()
) -> Dataset:
    """The derived NM object that holds `counts` [slices, rows, columns] in the geometry of `series`.

    others: series of other planes that also went into the counts; the object names them among its sources, and its
    UIDs depend on them.

    Raises ValueError if the counts have another shape or are not finite, InputError if the header cannot be copied.
    """
    return _checked(series, counts, provenance, _CORRECTED, finest=1.0, others=others)


def derive_uncertainty(
    series: Series, deviations: NDArray, provenance: Provenance | None, widening: float = 1.0
) -> Dataset:
    """The derived NM object that holds the standard deviation of corrected counts, [slices, rows, columns].

    A series of its own beside the corrected one, with the same geometry; stored values times the slope of the Real
    World Value Mapping are counts. widening: what they were multiplied by because of the error expected of their study.
    Raises as `derive_corrected`.
    """
    if provenance:
        wide = {"widened": widening} if widening != 1.0 else {}
        provenance = replace(provenance, settings={**provenance.settings, **provenance.uncertainty, **wide})
    return _checked(series, deviations, provenance, _UNCERTAINTY, finest=_FINEST_DEVIATION)


def _checked(
    series: Series,
    counts: NDArray,
    provenance: Provenance | None,
    kind: _Kind,
    finest: float,
    others: Sequence[Series] = (),
) -> Dataset:
    if series.header is None:
        raise ValueError(f"{series.path}: a series without DICOM header has nothing to derive an object from")
    counts = np.asarray(counts)
    if counts.shape != series.counts.shape:
        raise ValueError(f"{series.path}: expected counts of shape {series.counts.shape}, found {counts.shape}")
    words = words_of(series, counts, finest)
    words = replace(words, values=series.turn.undo(words.values))
    try:
        return _derive(series, words, provenance, kind, others)
    except Exception as error:
        # pydicom quotes values in its messages; they may identify the patient.
        raise InputError(f"{series.path}: the header cannot be copied ({type(error).__name__}).") from None


def _derive(
    series: Series,
    words: Words,
    provenance: Provenance | None,
    kind: _Kind,
    others: Sequence[Series],
) -> Dataset:
    source = _header(series)
    ds = copy.deepcopy(source)
    _drop_private(ds)
    for keyword in (*_STALE, *_RENEWED):
        if keyword in ds:
            del ds[keyword]
    for group in range(0x6000, 0x6020, 2):
        for tag in list(ds.group_dataset(group).keys()):
            del ds[tag]
    order = slice_numbers(source, series.path)
    ds.ImageType = ["DERIVED", "PRIMARY", *list(source.ImageType)[2:]]
    ds.SeriesNumber = _series_number(source, kind)
    ds.SeriesDescription = f"{_text(source, 'SeriesDescription')[: 63 - len(kind.mark)]} {kind.mark}".strip()
    corrections = source.get("CorrectedImage") or []
    corrections = [corrections] if isinstance(corrections, str) else list(corrections)
    ds.CorrectedImage = corrections if "ATTN" in corrections else [*corrections, "ATTN"]
    ds.CountsAccumulated = ""
    ds.BurnedInAnnotation = "NO"
    ds.ImageComments = kind.comment
    _describe(ds, series, provenance, kind, others)
    keep_codes_alone(ds)
    _complete_geometry(ds, str(source.SOPInstanceUID))
    put_words(ds, words, order, joined=bool(series.instances), meaning=kind.values)
    made = _made(provenance, others)
    content = encoded_sha256(ds)
    ds.SOPInstanceUID = stable_uid(f"{kind.role} instance", str(source.SOPInstanceUID), made, content)
    ds.SeriesInstanceUID = stable_uid(f"{kind.role} series", str(source.SeriesInstanceUID), made, content)
    return ds


def _header(series: Series) -> Dataset:
    assert series.header is not None
    return series.header


def _drop_private(ds: Dataset) -> None:
    """Delete private elements at every level, unread: what a vendor's own dictionary makes of them may be an error."""
    for tag in list(ds.keys()):
        if tag.is_private:
            del ds[tag]
        elif ds[tag].VR == "SQ":
            for item in ds[tag].value or ():
                _drop_private(item)


def _complete_geometry(ds: Dataset, source_uid: str) -> None:
    """Write what must be there, and may be empty, where the source lacks it; a frame of reference may not."""
    for home, keyword in [
        (ds, "SpacingBetweenSlices"),
        *((item, keyword) for item in ds.get("DetectorInformationSequence") or () for keyword in _PLACES),
    ]:
        if keyword not in home:
            setattr(home, keyword, None)
    if not ds.get("FrameOfReferenceUID"):
        ds.FrameOfReferenceUID = stable_uid("frame of reference", source_uid)


def _made(provenance: Provenance | None, others: Sequence[Series]) -> str:
    """What an object was made by and from, besides its source."""
    settings = dict(sorted(provenance.settings.items())) if provenance else {}
    sources = sorted(str(_header(other).SOPInstanceUID) for other in others)
    by = [provenance.model, provenance.weights, provenance.version] if provenance else []
    return json.dumps([*by, settings, sources])


def _series_number(source: Dataset, kind: _Kind) -> int:
    """The source's number and an offset; of a number that is none, or too large for that, the offset alone."""
    try:
        number = int(source.get("SeriesNumber") or 0) + kind.series_offset
    except (TypeError, ValueError, OverflowError):
        return kind.series_offset
    return number if abs(number) <= _LARGEST_NUMBER else kind.series_offset


def _text(source: Dataset, keyword: str) -> str:
    """A text of one value; backslashes part a text into several, whether they were meant to or not."""
    value = source.get(keyword) or ""
    return value if isinstance(value, str) else "/".join(map(str, value))


def _describe(
    ds: Dataset, series: Series, provenance: Provenance | None, kind: _Kind, others: Sequence[Series]
) -> None:
    """Which objects it was derived from, how, and by what."""
    source = _header(series)
    ds.SourceImageSequence = _sources(series, "YES")
    for other in others:
        ds.SourceImageSequence.extend(_sources(other, "NO"))

    model = plain(provenance.model) if provenance else "not stated"
    version = provenance.version if provenance else __version__
    weights = f" (weights SHA-256 {provenance.weights})" if provenance and provenance.weights else ""
    settings = ", ".join(f"{key} {value}" for key, value in sorted(provenance.settings.items())) if provenance else ""
    planes = averaged(", ".join(each.plane for each in others))
    # What must be read stands first: a long list of settings is cut at the end.
    ds.DerivationDescription = (
        f"{RESEARCH} {kind.description} by spectac_fast {version}, model {model[:64]}"
        f"{weights}.{_doubts(series)}{planes} Settings: {plain(settings) or 'not stated'}."
    )[:1024]

    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [code("DCM", "109102", "Processing Equipment")]
    equipment.Manufacturer, equipment.ManufacturerModelName = "spectac_fast project", f"spectac_fast {model}"[:64]
    equipment.SoftwareVersions = version
    equipment.ContributionDescription = kind.contribution
    ds.ContributingEquipmentSequence = [*(source.get("ContributingEquipmentSequence") or ()), equipment]


def _sources(series: Series, locations_preserved: str) -> list[Dataset]:
    items, source = [], _header(series)
    for uid in series.instances or (source.SOPInstanceUID,):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, uid
        item.SpatialLocationsPreserved = locations_preserved
        item.PurposeOfReferenceCodeSequence = [code("DCM", "121322", "Source image for image processing operation")]
        items.append(item)
    return items


def _doubts(series: Series) -> str:
    """What a model is not made for and was forced upon it."""
    transaxial = TRANSAXIAL if series.plane == "TRA" else ""
    return transaxial + (DOUBTFUL if series.doubt else CORRECTED if series.attenuation_corrected else "")
