"""Score a corrected study against AC series of the same patient, and line its planes up for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectac_fast.data.scale import count_scale, heart_mask, to_model
from spectac_fast.errors import InputError
from spectac_fast.evaluate.figures.pictures import Stacks
from spectac_fast.evaluate.table.metrics import PatientScores, SeriesPair, score_patient

if TYPE_CHECKING:
    from spectac_fast.formats.series import Series


def match(nc: Sequence[Series], corrected: Sequence[Series], ac: Sequence[Series]) -> dict[str, dict[str, Stacks]]:
    """{phase: {plane: stacks}} of three sets of series of one patient, in the order of ``nc``.

    Raises:
        InputError: a series lacks its partner, or has another size or spacing.
    """
    found: dict[str, dict[str, Stacks]] = {}
    for series in nc:
        key = series.phase, series.plane
        partners = []
        for name, others in (("corrected", corrected), ("AC", ac)):
            partner = next((s for s in others if (s.phase, s.plane) == key), None)
            if partner is None:
                raise InputError(f"{series.path}: expected a partner among the {name} series, found none.")
            same = partner.counts.shape == series.counts.shape and partner.spacing_mm == series.spacing_mm
            if not same:
                raise InputError(f"{partner.path}: expected the size and spacing of {series.path}, found others.")
            partners.append(partner.counts)
        corrected_counts, ac_counts = partners
        found.setdefault(series.phase, {})[series.plane] = Stacks(
            series.counts, corrected_counts, ac_counts, series.spacing_mm
        )
    return found


def against_ac(study: dict[str, dict[str, Stacks]], gain: float) -> tuple[PatientScores, PatientScores]:
    """(NC times the gain, corrected), each scored against AC, pooled over the patient.

    study: of ``match``; every phase has an SA plane, whose NC gives the phase's scale. gain: AC/NC of the left
    ventricle.
    """
    pairs: tuple[list[SeriesPair], list[SeriesPair]] = [], []
    for planes in study.values():
        scale = count_scale(planes["SA"].nc, planes["SA"].spacing_mm)
        for stacks in planes.values():
            reference = to_model(stacks.ac, scale * gain)
            heart = heart_mask(stacks.nc.shape, stacks.spacing_mm)
            pairs[0].append(SeriesPair(to_model(stacks.nc, scale), reference, heart))
            pairs[1].append(SeriesPair(to_model(stacks.corrected, scale * gain), reference, heart))
    return score_patient(pairs[0]), score_patient(pairs[1])
