"""A corrected NM object from its source: same patient, geometry and dates, new pixels, and a header that says so."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast._version import __version__
from spectac_fast.data.dicom.elements import code, set_pixels, stable_uid
from spectac_fast.data.dicom.read import slice_numbers
from spectac_fast.errors import InputError

if TYPE_CHECKING:
    from spectac_fast.data.study import Provenance, Series

_LARGEST = 65535

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
    "WindowCenterWidthExplanation",
)


def derive_corrected(series: Series, counts: NDArray, provenance: Provenance | None) -> Dataset:
    """The derived NM object that holds `counts` [slices, rows, columns] in the geometry of `series`.

    Raises ValueError if the counts have another shape or are not finite, InputError if the header cannot be copied.
    """
    if series.header is None:
        raise ValueError(f"{series.path}: a series without DICOM header has nothing to derive an object from")
    counts = np.asarray(counts)
    if counts.shape != series.counts.shape:
        raise ValueError(f"{series.path}: expected counts of shape {series.counts.shape}, found {counts.shape}")
    pixels, slope = quantise(counts)
    pixels = pixels[slice_numbers(series.header, series.path)]
    try:
        return _derive(series.header, pixels, slope, provenance)
    except Exception as error:
        # pydicom quotes values in its messages; they may identify the patient.
        raise InputError(f"{series.path}: the header cannot be copied ({type(error).__name__}).") from None


def quantise(counts: NDArray) -> tuple[NDArray[np.uint16], float]:
    """Counts -> (uint16, slope) with counts ~ slope * uint16; the slope is 1 wherever the counts fit.

    Counts above 65535 are not clipped: the stack is divided by the smallest power of two that makes them fit, so that
    the slope is exact. Negative counts become 0. Raises ValueError if a value is not finite.
    """
    counts = np.asarray(counts, np.float64)
    if not np.isfinite(counts).all():
        raise ValueError("corrected counts must be finite, found NaN or infinity")
    top = float(counts.max(initial=0.0))
    slope = 1.0 if np.rint(top) <= _LARGEST else 2.0 ** math.ceil(math.log2(top / (_LARGEST + 0.5)))
    return np.clip(np.rint(counts / slope), 0, _LARGEST).astype(np.uint16), slope


def _derive(source: Dataset, pixels: NDArray[np.uint16], slope: float, provenance: Provenance | None) -> Dataset:
    ds = copy.deepcopy(source)
    ds.remove_private_tags()
    for keyword in _STALE:
        if keyword in ds:
            del ds[keyword]
    for group in range(0x6000, 0x6020, 2):
        for tag in list(ds.group_dataset(group).keys()):
            del ds[tag]
    entropy = _entropy(pixels, provenance)
    ds.SOPInstanceUID = stable_uid("derived instance", str(source.SOPInstanceUID), entropy)
    ds.SeriesInstanceUID = stable_uid("derived series", str(source.SeriesInstanceUID), entropy)
    ds.ImageType = ["DERIVED", "PRIMARY", *list(source.ImageType)[2:]]
    ds.SeriesNumber = int(source.get("SeriesNumber") or 0) + 9000
    ds.SeriesDescription = f"{str(source.get('SeriesDescription') or '')[:58]} DL-AC".strip()
    corrections = source.get("CorrectedImage") or []
    ds.CorrectedImage = [*([corrections] if isinstance(corrections, str) else corrections), "ATTN"]
    ds.CountsAccumulated = ""
    ds.BurnedInAnnotation = "NO"
    ds.ImageComments = "ESTIMATED attenuation correction (no CT). Compare with the source NC series."
    _describe(ds, source, provenance)
    set_pixels(ds, pixels)
    _map_values(ds, slope)
    if "WindowCenter" in ds or "WindowWidth" in ds:
        top = max(int(pixels.max()), 2)
        ds.WindowCenter, ds.WindowWidth = f"{top / 2:g}", f"{top:g}"
    return ds


def _entropy(pixels: NDArray[np.uint16], provenance: Provenance | None) -> str:
    if provenance is None:
        return hashlib.sha256(pixels.tobytes()).hexdigest()
    settings = dict(sorted(provenance.settings.items()))
    return json.dumps([provenance.model, provenance.weights, provenance.version, settings])


def _describe(ds: Dataset, source: Dataset, provenance: Provenance | None) -> None:
    """Which object it was derived from, how, and by what."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    item.SpatialLocationsPreserved = "YES"
    item.PurposeOfReferenceCodeSequence = [code("DCM", "121322", "Source image for image processing operation")]
    ds.SourceImageSequence = [item]

    model = provenance.model if provenance else "not stated"
    version = provenance.version if provenance else __version__
    weights = f" (weights SHA-256 {provenance.weights})" if provenance and provenance.weights else ""
    settings = "".join(f", {key} {value}" for key, value in sorted(provenance.settings.items())) if provenance else ""
    ds.DerivationDescription = (
        "Attenuation correction estimated from the non-corrected image alone, without CT or transmission scan, by "
        f"spectac_fast {version}, model {model}{weights}{settings}. Research use only, not a medical device."
    )[:1024]

    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [code("DCM", "109102", "Processing Equipment")]
    equipment.Manufacturer, equipment.ManufacturerModelName = "spectac_fast project", f"spectac_fast {model}"[:64]
    equipment.SoftwareVersions = version
    equipment.ContributionDescription = "Image-domain attenuation correction"
    ds.ContributingEquipmentSequence = [*(source.get("ContributingEquipmentSequence") or ()), equipment]


def _map_values(ds: Dataset, slope: float) -> None:
    """Record that a stored value stands for `slope` counts, on top of whatever mapping the source already had."""
    if slope == 1.0:
        return
    if "RescaleSlope" in ds:
        ds.RescaleSlope = f"{float(ds.RescaleSlope) * slope:.10g}"
    known = ds.get("RealWorldValueMappingSequence")
    if known:
        for item in known:
            item.RealWorldValueSlope = float(item.RealWorldValueSlope) * slope
            item.add_new("RealWorldValueFirstValueMapped", "US", 0)
            item.add_new("RealWorldValueLastValueMapped", "US", _LARGEST)
        return
    item = Dataset()
    item.add_new("RealWorldValueFirstValueMapped", "US", 0)
    item.add_new("RealWorldValueLastValueMapped", "US", _LARGEST)
    item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, 0.0
    item.LUTExplanation, item.LUTLabel = "Corrected counts", "COUNTS"
    item.MeasurementUnitsCodeSequence = [code("UCUM", "{counts}", "Counts")]
    ds.RealWorldValueMappingSequence = [item]
