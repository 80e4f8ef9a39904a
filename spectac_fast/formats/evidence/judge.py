"""Whether a series is corrected for attenuation already: evidence in, a verdict with its reasons out.

Header and words are heard first, the image gives a second opinion. Nothing is guessed in silence: where they contradict
each other, or nothing tells, the verdict is open, and only the user can close it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spectac_fast.formats.evidence.header import Evidence, Weight
from spectac_fast.formats.evidence.image import UNKNOWN, Opinion

_MEANS = {"NC": "not corrected for attenuation", "AC": "corrected for attenuation"}


@dataclass(frozen=True)
class Verdict:
    """kind: "NC", "AC", or None where the evidence leaves it open. reasons: clauses, the weightiest first.

    notes: sentences on what was assumed or overruled, for warnings; none where header and image agree.
    """

    kind: str | None
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def because(self) -> str:
        """The reasons in one line."""
        return "; ".join(self.reasons)


def judge(
    evidence: Sequence[Evidence], image: Opinion, told: str | None = None, *, assumed: str | None = None
) -> Verdict:
    """The verdict on one series.

    evidence: as `header.correction_evidence` gives it, or of a file's name. image: what the counts look like. told:
    "NC" or "AC" where the user has said so, which closes the case and notes what speaks against it. assumed: the same
    where nothing tells and the image is unlike all that is known, of files that have no header to tell.
    """
    reasons = (*(each.clause for each in evidence), image.clause)
    said = _said(evidence)
    if told is not None:
        against = [each.clause for each in evidence if each.kind not in (told, "both")]
        against += [image.clause] if image.kind not in (told, None) else []
        notes = (f"taken as {told} because the user says so, although {' and '.join(against)}",) if against else ()
        return Verdict(told, (f"the user says {told}", *reasons), notes)
    if said == "NC" and image.kind == "AC" and image.sure:
        if not any(each.kind == "NC" and each.weight is Weight.CODED for each in evidence):
            return Verdict(None, reasons)
        # Nobody writes the code for no correction by habit, and there are hearts that look corrected without.
        return Verdict(
            "NC", reasons, ("its header codes that attenuation was not corrected, the image looks as if so",)
        )
    if said == "AC" and image.kind == "NC" and image.sure:
        return Verdict("AC", reasons, ("its header says that attenuation was corrected, the image looks as if not",))
    if said == "both":
        return Verdict(None, reasons)
    if said:
        return Verdict(said, reasons)
    if image is UNKNOWN and assumed:
        return Verdict(assumed, reasons, (f"taken as {assumed}: its name does not tell, and {image.clause}",))
    if image.kind is None:
        return Verdict(None, ("nothing in its header or name says whether attenuation was corrected", *reasons))
    note = f"taken as {image.kind} by the look of the image alone: nothing in its header says whether it is corrected"
    return Verdict(image.kind, reasons, (note,))


def _said(evidence: Sequence[Evidence]) -> str:
    """What codes and words agree on, "both" where they do not, hints only where nothing else speaks; "" for nothing."""
    for heard in ((Weight.CODED, Weight.WORDS), (Weight.HINT,)):
        # A text that names both kinds, "AC/NC", tells nothing.
        kinds = {each.kind for each in evidence if each.weight in heard} - {"both"}
        if kinds:
            return kinds.pop() if len(kinds) == 1 else "both"
    return ""
