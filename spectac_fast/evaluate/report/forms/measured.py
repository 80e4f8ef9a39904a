"""The report's numbers as measurements of a DICOM structured report: segments, summed scores, deficits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spectac_fast.evaluate.regional.deficit import Deficit
from spectac_fast.evaluate.report.analysis import PERFUSION, Phase, warnings_of
from spectac_fast.evaluate.report.gather import ReportStudy
from spectac_fast.evaluate.report.words import NAMES
from spectac_fast.formats.dicom.summary.structured import OWN_SCHEME, Code, Group, Measured
from spectac_fast.formats.series import Series

LEFT_VENTRICLE: Code = ("SCT", "87878005", "Left ventricle")
# CID 3717 of PS3.16, from segment 1 to 17.
SEGMENTS: tuple[Code, ...] = (
    ("SCT", "264850008", "left ventricle basal anterior segment"),
    ("SCT", "396482007", "left ventricle basal anteroseptal segment"),
    ("SCT", "396646008", "left ventricle basal inferoseptal segment"),
    ("SCT", "264846001", "left ventricle basal inferior segment"),
    ("SCT", "396652009", "left ventricle basal inferolateral segment"),
    ("SCT", "396654005", "left ventricle basal anterolateral segment"),
    ("SCT", "264848000", "left ventricle mid anterior segment"),
    ("SCT", "396647004", "left ventricle mid anteroseptal segment"),
    ("SCT", "396649001", "left ventricle mid inferoseptal segment"),
    ("SCT", "264847005", "left ventricle mid inferior segment"),
    ("SCT", "396655006", "left ventricle mid inferolateral segment"),
    ("SCT", "396656007", "left ventricle mid anterolateral segment"),
    ("SCT", "264844003", "left ventricle apical anterior segment"),
    ("SCT", "264845002", "left ventricle apical septal segment"),
    ("SCT", "264849008", "left ventricle apical inferior segment"),
    ("SCT", "264853005", "left ventricle apical lateral segment"),
    ("SCT", "128564006", "Apex of left ventricle"),
)
_STATE: Code = ("DCM", "109054", "Patient State")
_STATES: dict[str, Code] = {
    "stress": ("SCT", "432655005", "Cardiac Stress State"),
    "rest": ("SCT", "128975004", "Resting State"),
}
_CORRECTION: Code = ("DCM", "122713", "Attenuation correction method")
_ALGORITHMIC: Code = ("DCM", "122726", "Algorithmic Attenuation Correction")
# What the scanner's own correction was made of is not known.
_CORRECTIONS: dict[str, Code] = {
    "NC": ("DCM", "122729", "No Attenuation Correction"),
    "corrected": _ALGORITHMIC,
    "physics": _ALGORITHMIC,
}
PERCENT: Code = ("UCUM", "%", "Percent")
NO_UNIT: Code = ("UCUM", "1", "no units")
PERFUSION_OF: Code = ("SCT", "251053005", "Myocardial perfusion")
SUMMED: dict[str, Code] = {
    "stress": (OWN_SCHEME, "SSS", "Summed stress score"),
    "rest": (OWN_SCHEME, "SRS", "Summed rest score"),
}
DIFFERENCE: Code = (OWN_SCHEME, "SDS", "Summed difference score")
TOTAL: Code = (OWN_SCHEME, "TPD", "Total perfusion deficit")
EXTENT: Code = ("SCT", "427751006", "Extent of cardiac perfusion defect")
SEVERITY: Code = (OWN_SCHEME, "SEVERITY", "Severity of perfusion deficit, standard deviations")
_HOW = (
    "Myocardial perfusion: largest count within the wall along the normals of a half-ellipsoid, averaged over each "
    "segment (AHA, Cerqueira 2002), in % of the polar map's 99th percentile."
)
_UNWRITTEN = "Corrected in memory and never written: the images named are those that were corrected."


def groups_of(study: ReportStudy, phases: Sequence[Phase]) -> list[Group]:
    """A group for each phase and kind of image that has segments, and for stress minus rest where both have scores."""
    groups = [_group(study, phase, kind) for phase in phases for kind in PERFUSION if kind in phase.segments]
    return [*groups, *_differences(study, phases)]


def comments_of(study: ReportStudy, phases: Sequence[Phase]) -> list[str]:
    """What made the images, and what to be wary of."""
    return [*study.made_by, *(f"Warning: {text[:1].upper()}{text[1:]}" for text in warnings_of(study, phases))]


def _group(study: ReportStudy, phase: Phase, kind: str) -> Group:
    said = {_STATE: _STATES[phase.name]}
    if kind in _CORRECTIONS:
        said[_CORRECTION] = _CORRECTIONS[kind]
    measured = [
        Measured(PERFUSION_OF, round(float(value), 1), PERCENT, site)
        for site, value in zip(SEGMENTS, phase.segments[kind])
    ]
    found = phase.deficits.get(kind)
    method = [_HOW, *_unwritten(study, phase.name, kind)]
    if found is not None:
        measured += _deficit(phase.name, found)
        method.append(_limits(phase))
    return Group(
        f"{phase.name} {NAMES[kind]}", [_source(study, phase.name, kind)], LEFT_VENTRICLE, said, measured, method
    )


def _deficit(phase: str, found: Deficit) -> Iterator[Measured]:
    yield Measured(SUMMED[phase], found.summed, NO_UNIT)
    yield Measured(TOTAL, round(found.total, 1), PERCENT)
    yield Measured(EXTENT, round(found.extent, 1), PERCENT)
    yield Measured(SEVERITY, round(found.severity, 1), NO_UNIT)


def _differences(study: ReportStudy, phases: Sequence[Phase]) -> Iterator[Group]:
    judged = {phase.name: phase for phase in phases if phase.deficits}
    if not {"stress", "rest"} <= judged.keys():
        return
    stress, rest = judged["stress"], judged["rest"]
    for kind in PERFUSION:
        if kind in stress.deficits and kind in rest.deficits:
            value = stress.deficits[kind].summed - rest.deficits[kind].summed
            yield Group(
                f"stress minus rest {NAMES[kind]}",
                [_source(study, name, kind) for name in ("stress", "rest")],
                LEFT_VENTRICLE,
                {_CORRECTION: _CORRECTIONS[kind]} if kind in _CORRECTIONS else {},
                [Measured(DIFFERENCE, value, NO_UNIT)],
                [*_unwritten(study, "stress", kind), _limits(stress)],
            )


def _limits(phase: Phase) -> str:
    return f"Normal limits: {phase.normals}. Synthetic normals are not your patients'."


def _source(study: ReportStudy, phase: str, kind: str) -> Series:
    """The series that was measured, or the one it was corrected from in memory."""
    own = study.series[kind][phase, "SA"]
    return study.series["NC"][phase, "SA"] if _unwritten(study, phase, kind) else own


def _unwritten(study: ReportStudy, phase: str, kind: str) -> list[str]:
    own, nc = study.series[kind][phase, "SA"], study.series["NC"].get((phase, "SA"))
    return [_UNWRITTEN] if kind == "corrected" and nc is not None and own.header is None and own.form is None else []
