"""The series of one study, lined up: which kind of image each is, which belong together, and what is left over.

The report shows what is lined up, and pairs of one's own are NC and AC that stand beside each other here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from spectac_fast.data.acquisition import apart, claim_of
from spectac_fast.data.inputs import Found, Source
from spectac_fast.data.settle import settled
from spectac_fast.data.study import MARKS
from spectac_fast.errors import SpectacError
from spectac_fast.formats.dicom.derivation import UNMEASURED, deviates, reconstruction_of
from spectac_fast.formats.series import Series, volume_ending
from spectac_fast.terms import PHASES, PLANES

# Kinds of image, in the order in which they are shown: "corrected" is made of NC images, "physics" reconstructed with a
# map that nobody measured; AC is what a CT gave, where there was one; SD is the deviation of "corrected", "map SD" that
# of "physics" or AC.
KINDS = ("NC", "corrected", "physics", "AC", "SD", "map SD")


@dataclass(frozen=True)
class Lineup:
    """Of each kind one series a phase and plane. left: what stands in no place, each with what says that it is of
    another acquisition, or "" where another series of its kind has its place.
    """

    by_kind: dict[str, dict[tuple[str, str], Series]]
    left: list[tuple[Series, str]] = field(default_factory=list)


def series_of_study(
    sources: Sequence[Source],
    found: Found,
    expected: Callable[[Source, Series | None], bool] = lambda source, series: False,
) -> list[Series]:
    """The short- and long-axis series among the sources of a study, each as it lies; why others are none goes to
    `found.skipped`.

    expected: whether a source, with its series if it has one, is no surprise there, so that nothing is said of it.
    """
    series = (_read(source, found, expected) for source in sources)
    return _settled([one for one in series if one is not None])


def lined_up(series: Sequence[Series]) -> Lineup:
    """What is shown of a study: of each phase one acquisition, that of the first corrected series if there is one, and
    of several series of a kind that which was corrected.
    """
    lineup = Lineup({kind: {} for kind in KINDS})
    for phase in PHASES:
        mine = [one for one in series if one.phase == phase]
        made = [one for one in mine if kind_of(one) == "corrected"]
        claims = {one: claim_of(one) for one in mine}
        # What would be corrected leads, not what a CT corrected.
        order = sorted(made or mine, key=lambda one: (kind_of(one) == "AC", one.plane != PLANES[0]))
        for one in made + [one for one in mine if one not in made]:
            if why := apart(claims[order[0]], claims[one]):
                lineup.left.append((one, why))
            else:
                _put(one, lineup)
    return lineup


def _put(one: Series, lineup: Lineup) -> None:
    kind, key = kind_of(one), (one.phase, one.plane)
    of = lineup.by_kind[kind]
    kept = of.setdefault(key, one)
    if kept is one:
        return
    shown = lineup.by_kind["corrected"].get(key)
    if shown is not None and source_of(shown) in uids_of(one):
        of[key] = one
        one = kept
    lineup.left.append((one, ""))


def kind_of(series: Series) -> str:
    """Which of `KINDS` a series is; what this program wrote is told by its description, or by the name of its file."""
    if series.header is not None:
        name = str(series.header.get("SeriesDescription") or "")
    else:
        name = series.path.name[: -len(volume_ending(series.path)) or None].replace("_DL-AC-SD", " DL-AC SD")
    if name.endswith("DL-AC SD"):
        return "SD"
    if name.endswith(MARKS[0]):
        return "corrected"
    if not series.attenuation_corrected:
        return "NC"
    said = reconstruction(series)
    if deviates(said):
        return "map SD"
    return "physics" if UNMEASURED.search(said) else "AC"


def reconstruction(series: Series) -> str:
    """How this program reconstructed a series from projections, as it says itself; "" for others."""
    return reconstruction_of(series.header) if series.header is not None else ""


def source_of(one: Series) -> str:
    """The UID of the object that a derived series was made from, "" where it does not say."""
    sources = (one.header.get("SourceImageSequence") or ()) if one.header is not None else ()
    return str(next(iter(sources)).get("ReferencedSOPInstanceUID") or "") if sources else ""


def uids_of(one: Series) -> set[str]:
    """The SOP Instance UIDs of the objects that a series was read from."""
    return {*one.instances, str(one.header.SOPInstanceUID)} if one.header is not None else set()


def read_as(one: Series, lead: Series) -> Series:
    """A series in the order in which another one is read that has its voxels, such as the one it was made from."""
    again = one.reread(one.turn.inverse.then(lead.turn))
    if one.plane != lead.plane or again.counts.shape != lead.counts.shape:
        return one
    return replace(
        again,
        pixel_mm=lead.pixel_mm,
        slice_mm=lead.slice_mm,
        orientation=lead.orientation,
        position=lead.position,
        notes=(),
    )


def _settled(series: Sequence[Series]) -> list[Series]:
    """Series of a study, each as it lies; what was derived from another one at hand lies as that does."""
    plain = [one for one in series if kind_of(one) in ("NC", "physics", "AC")]
    found = dict(zip(plain, settled(plain)))
    leads = {uid: one for one in found.values() for uid in uids_of(one)}
    made = [one for one in series if kind_of(one) == "corrected" and source_of(one) not in leads]
    leads |= {source_of(one): one for one in settled(made)}
    return [found.get(one) or read_as(one, leads.get(source_of(one), one)) for one in series]


def _read(source: Source, found: Found, expected: Callable[[Source, Series | None], bool]) -> Series | None:
    try:
        series = source.series(source.contents(), force=True)
    except SpectacError as reason:
        if not expected(source, None):
            found.skipped.append(str(reason))
        return None
    if series.doubt:
        found.skipped.append(f"{series.path}: it is open whether this is NC or AC: {series.doubt}.")
    elif series.plane not in PLANES and not expected(source, series):
        found.skipped.append(f"{series.path}: expected slices along the heart (SA, VLA or HLA), found transaxial ones.")
    return series if series.plane in PLANES and not series.doubt else None
