"""What all cohorts of NC/AC pairs have in common: synthetic ones (cohort.py) and a researcher's own (pairs.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spectac_fast.cohort.cohort import SeriesKey, reference_plane
from spectac_fast.data.facts import StudyFacts
from spectac_fast.data.scale import count_scale
from spectac_fast.phantom.protocol import HANOI
from spectac_fast.terms import PHASES, PLANES


class Pairs(Protocol):
    """What tables need of a cohort, in which every stack may have a spacing of its own."""

    @property
    def cases(self) -> list[dict[str, Any]]: ...

    @property
    def kinds(self) -> tuple[str, ...]: ...

    def series(self, i: int) -> list[SeriesKey]: ...

    def pair(self, i: int, phase: str | None, plane: str | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...

    def ideal(self, i: int, phase: str | None, plane: str | None) -> NDArray[np.float32]: ...

    def mapped(self, i: int, phase: str | None, plane: str | None) -> dict[str, NDArray[np.uint16]] | None: ...

    def spacing_of(self, i: int, phase: str | None, plane: str | None) -> tuple[float, float, float]: ...

    def scale(self, i: int, phase: str | None) -> float: ...


class PairedCohort(Pairs, Protocol):
    """What training needs of a cohort, in which all stacks have one spacing."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]: ...


class KnownCohort(Pairs, Protocol):
    """A cohort of synthetic patients, whose activity is known."""

    def truth(self, i: int, phase: str | None, plane: str | None) -> NDArray[np.float32]: ...


def phases_of(cohort: Pairs, i: int) -> dict[str | None, list[str | None]]:
    """{phase: its planes} of the stacks of a case, both in their customary order, None (not known) last."""
    series = cohort.series(i)
    planes = {phase: [plane for plane in (*PLANES, None) if (phase, plane) in series] for phase in (*PHASES, None)}
    return {phase: found for phase, found in planes.items() if found}


def left_ventricle_gain(cohort: Pairs, cases: Sequence[int]) -> float:
    """AC/NC gain of the left ventricle: median over cases and phases of the ratio of their count scales.

    Of the stack that sets the phase's scale, SA where there is one.
    """
    gains = []
    for i in cases:
        series = cohort.series(i)
        for phase in dict.fromkeys(phase for phase, _ in series):
            plane = reference_plane(series, phase)
            _, ac = cohort.pair(i, phase, plane)
            gains.append(count_scale(ac, cohort.spacing_of(i, phase, plane)) / cohort.scale(i, phase))
    return float(np.median(gains))


def facts_of_patient(cohort: Pairs, case: int) -> StudyFacts:
    """What a cohort knows of a case besides its images: what headers say, or what a synthetic one's would."""
    own = getattr(cohort, "facts_of", None)
    return facts_of_case(cohort.cases[case]) if own is None else own(case)


def facts_of_case(case: Mapping[str, Any]) -> StudyFacts:
    """What a case of a cohort's index says besides its images, as its header would; nothing of patients who are no
    synthetic ones.
    """
    if "seed" not in case:
        return StudyFacts()
    # The first cohort's files hold no protocol.
    protocol = case.get("protocol") or HANOI.to_json()
    camera, nc, ac = protocol["camera"], protocol["nc"], protocol["ac"]
    return StudyFacts(
        male={"M": True, "F": False}.get(case.get("sex", "")),
        bmi=case.get("bmi"),
        prone=protocol["position"] == "prone",
        arc=camera["arc"],
        cardiac=camera["collimator"] == "CZT",
        fbp=nc["method"] == "FBP",
        scatter_corrected=nc["scatter"] != "none",
        keeps_scatter=ac["scatter"] == "none",
        sharper=ac["resolution_recovery"] and not nc["resolution_recovery"],
    )
