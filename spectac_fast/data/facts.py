"""What is known of a study besides its counts: of whom it is and how it was made, as numbers that a network may take.

How many counts AC has for one of NC, and where, depends on the body, the arc and the camera, which no slice shows
whole. Headers often say them. What they do not say is 0 in these numbers, as is what is usual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from spectac_fast.formats.facts import HeaderFacts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spectac_fast.formats.series import Series


@dataclass(frozen=True)
class StudyFacts(HeaderFacts):
    """What a header may say (`formats.facts.HeaderFacts`: male, bmi, prone, arc, cardiac, fbp, scatter_corrected), and
    of the AC that is wanted keeps_scatter: whether scatter is left in it; taken out, as is usual, where None; ideal:
    whether it is to be without noise and the errors of a CT's map and of a scatter estimate; as CT-AC is where None;
    sharper: whether its reconstruction recovers resolution and that of NC does not; as sharp as NC where None.
    """

    keeps_scatter: bool | None = None
    ideal: bool | None = None
    sharper: bool | None = None

    def values(self, names: Sequence[str], unknown: float = 0.0) -> NDArray[np.float32]:
        """The facts of some names, float32 [n], within -3.5 ... 3.5; KeyError for a name of none. unknown: what
        stands for one that is not known.
        """
        import numpy as np

        found = [(getattr(self, FACTS[name][0]), FACTS[name][1]) for name in names]
        return np.array([unknown if known is None else number(known) for known, number in found], np.float32)

    def but(self, other: StudyFacts) -> StudyFacts:
        """The same, where `other` says nothing else."""
        return replace(self, **{name: value for name, value in asdict(other).items() if value is not None})

    def words(self, names: Sequence[str]) -> str:
        """What is known under some names, for people; "" for nothing."""
        said = [(FACTS[name][2], getattr(self, FACTS[name][0])) for name in names]
        return ", ".join(in_words(known) for in_words, known in said if known is not None)


# In spreads.
_FURTHEST = 3.5


def _either(known: bool) -> float:
    return 1.0 if known else -1.0


def _about(middle: float, spread: float) -> Callable[[float], float]:
    """In spreads from the middle, and no further off than anybody a network has learnt from."""
    return lambda known: min(max((known - middle) / spread, -_FURTHEST), _FURTHEST)


def _one_of(yes: str, no: str) -> Callable[[bool], str]:
    return lambda known: yes if known else no


# What is wanted and not found, so that it is never unknown.
KEEPS_SCATTER, AS_IDEAL, SHARPER = WANTED = ("keeps_scatter", "ideal", "sharper")
# {name in weight files and recipes: (attribute, as a number, in words)}. Middles and spreads are about those of the
# cohorts.
FACTS: dict[str, tuple[str, Callable[..., float], Callable[..., str]]] = {
    "sex": ("male", _either, _one_of("male", "female")),
    "bmi": ("bmi", _about(26.0, 6.0), "body mass index {:.0f}".format),
    "prone": ("prone", _either, _one_of("prone", "supine")),
    "arc": ("arc", _about(270.0, 90.0), "{:.0f} degrees".format),
    "cardiac": ("cardiac", _either, _one_of("a cardiac camera", "a general camera")),
    "fbp": ("fbp", _either, _one_of("filtered back projection", "iterations")),
    "scatter": ("scatter_corrected", _either, _one_of("NC corrected for scatter", "NC not corrected for scatter")),
    KEEPS_SCATTER: ("keeps_scatter", float, _one_of("AC keeps its scatter", "AC corrected for scatter")),
    AS_IDEAL: ("ideal", float, _one_of("AC without noise", "AC with the noise of its counts")),
    SHARPER: ("sharper", float, _one_of("AC with resolution recovery", "AC as sharp as NC")),
}
NOTHING_KNOWN = StudyFacts()


def facts_of_series(all_series: Sequence[Series], told: StudyFacts = NOTHING_KNOWN) -> list[StudyFacts]:
    """What is known of each series of a study. told: by the user, which holds whatever headers say.

    What one of a patient's series says of a phase holds for all of it, for a header that lost it belongs to the same
    acquisition; where they contradict each other nothing is known.
    """
    said = [_said(series) for series in all_series]
    return [
        agreed_facts(said[k] for k, other in enumerate(all_series) if _same(one, other)).but(told) for one in all_series
    ]


def _said(series: Series) -> StudyFacts:
    if series.header is None:
        return StudyFacts()
    from spectac_fast.formats.dicom.facts import header_facts

    return StudyFacts(**asdict(header_facts(series.header)))


def _same(a: Series, b: Series) -> bool:
    """Whether two series are of one patient and phase, as far as their headers say."""
    if a is b or a.header is None or b.header is None:
        return a is b
    from spectac_fast.formats.dicom.patient import facts_of

    one, other = facts_of(a.header), facts_of(b.header)
    return a.phase == b.phase and (one.patient, one.lying) == (other.patient, other.lying)


def agreed_facts(several: Iterable[StudyFacts]) -> StudyFacts:
    """What some series of one patient say together: nothing where they contradict each other."""
    known = [asdict(each) for each in several]
    values = {name: {each[name] for each in known} - {None} for name in known[0]}
    return StudyFacts(**{name: next(iter(found)) if len(found) == 1 else None for name, found in values.items()})
