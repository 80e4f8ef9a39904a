"""The evidence on one series, gathered, weighed and written onto it."""

from __future__ import annotations

from dataclasses import replace

from spectac_fast.formats.evidence.header import Evidence, Weight, correction_evidence
from spectac_fast.formats.evidence.image import opinion
from spectac_fast.formats.evidence.judge import judge
from spectac_fast.formats.evidence.words import correction_in
from spectac_fast.formats.series import Series, Told, volume_ending

_MEANS = {"NC": "not corrected", "AC": "corrected", "both": "corrected and not corrected"}


def weighed(series: Series, told: Told) -> Series:
    """`series` with what header, name and image say of its correction, and what was assumed."""
    evidence = correction_evidence(series.header) if series.header is not None else []
    said = correction_in(series.path.name[: -len(volume_ending(series.path)) or None])
    if said:
        # A NIfTI or npy file has no other name than that of its file; of a DICOM file it is the last to be asked.
        weight = Weight.WORDS if series.header is None else Weight.HINT
        evidence.append(Evidence(said.kind, weight, f"its name says {_MEANS[said.kind]} ({said.words})"))
    image = opinion(series.counts, series.plane, series.spacing_mm, series.directions)
    # What NIfTI and npy files are is for those to know who name them.
    verdict = judge(evidence, image, told.kind, assumed="NC" if series.header is None else None)
    return replace(
        series,
        attenuation_corrected=verdict.kind != "NC",
        kind_told=told.kind is not None,
        doubt="" if verdict.kind else verdict.because,
        evidence=verdict.reasons,
        notes=(*series.notes, *verdict.notes),
    )
