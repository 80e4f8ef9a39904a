"""Which series show one acquisition of one patient: what their headers say for it and against it.

Stress and rest, prone beside supine, a repetition, and by mistake another patient may lie in one study. Only series of
one acquisition may share a count scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spectac_fast.formats.names import SUPINE

if TYPE_CHECKING:
    from spectac_fast.formats.dicom.patient import Facts
    from spectac_fast.formats.series import Series


@dataclass(frozen=True)
class Claim:
    """What a series says of its acquisition: phase, frame of reference ("" for none), and its header (None without)."""

    phase: str
    frame: str = ""
    header: Facts | None = None
    references: frozenset[str] = field(default_factory=frozenset)


def claim_of(series: Series) -> Claim:
    """What a series says."""
    if series.header is None:
        return Claim(series.phase, series.frame_of_reference)
    from spectac_fast.formats.dicom.patient import facts_of

    header = facts_of(series.header)
    return Claim(series.phase, series.frame_of_reference, header, header.references)


def apart(a: Claim, b: Claim) -> str:
    """What says that two series are not of one acquisition, in words; "" where nothing does.

    Times and energies say so where both series have them and they differ, the patient's identity also where one lacks
    it. Where nothing is said of how the patient lay, it is taken to be supine.
    """
    if a.phase != b.phase:
        return "phase"
    if a.header is None or b.header is None:
        return "" if a.header is b.header else "kind of file"
    one, other = a.header, b.header
    if (one.patient, one.study) != (other.patient, other.study):
        return "patient"
    if (one.lying or SUPINE) != (other.lying or SUPINE):
        return "position of the patient"
    if one.moment and other.moment and one.moment != other.moment:
        return "time of acquisition"
    if one.window and other.window and one.window != other.window:
        return "energy window"
    return ""


def likeliest(own: Claim, others: Sequence[Claim]) -> list[int]:
    """Which of some series that are not `apart` from one are most likely of its acquisition: those that it has an
    object in common with that they were made from, and among these, or all, those of its frame of reference.
    """
    every = list(range(len(others)))
    related = [k for k in every if own.references & others[k].references] or every
    return [k for k in related if own.frame == others[k].frame != ""] or related
