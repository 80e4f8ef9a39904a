"""Stacks that do not lie as their headers say, found by the other planes of a volume or by their own image.

The sign of SpacingBetweenSlices and the position are what is wrong most often in a header, and what was assumed of a
file without geometry may be wrong. Planes of one volume hold the same counts on the same voxels, which proves a way of
reading them; a stack that no other proves has its image (`geometry.heart`). Whatever is decided here, or is doubtful,
becomes a sentence of the series; its file is written back as it was.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.acquisition import apart, claim_of
from spectac_fast.data.geometry.heart import MARGIN, likeness, seen_as, turned_over
from spectac_fast.data.geometry.lattice import SAME, Lattice, difference
from spectac_fast.data.pieces import pieces
from spectac_fast.formats.orientation import AS_STORED, ENDS, VIEWS, Turn
from spectac_fast.formats.series import Series

# A 27th of the voxels tells whether planes agree.
_EVERY = 3
# Ways to read the series of one acquisition together; where there are more, headers are believed.
_MOST_WAYS = 7**4
_AXES = ("frames", "rows", "columns")
_FRAMES, _REVERSED = (1, 0, 0), Turn(flips=(True, False, False))


def settled(series: Sequence[Series]) -> list[Series]:
    """The series of a study, each as it lies by all there is to tell it, with sentences on what was decided.

    Of a series without a DICOM header it is only said what is doubtful.
    """
    parts = pieces(series)
    look = _Look({series[k].path for k in parts})
    found = [_as_kept(one, look) for one in series]
    for members in _acquisitions(found):
        for k, one in zip(members, _by_planes([found[k] for k in members], look)):
            found[k] = one
    for k, others in parts.items():
        names = ", ".join(series[other].path.name for other in others)
        note = f"its slices go on in {names}; each is corrected without the other's slices beside it."
        found[k] = replace(found[k], notes=(*found[k].notes, note))
    return [_doubted(one, look) for one in found]


class _Look:
    """What images show, each looked at once; parts: paths of what is no whole stack and looks like nothing."""

    def __init__(self, parts: set[Path]) -> None:
        self._parts = parts
        self._found: dict[Series, NDArray[np.float64]] = {}

    def likeness(self, one: Series) -> NDArray[np.float64]:
        """See `geometry.heart`."""
        if one not in self._found:
            self._found[one] = likeness(one.counts, one.plane, one.spacing_mm)
        return self._found[one]

    def turned_over(self, one: Series) -> tuple[int, int, int] | None:
        """Along which axes a series looks turned over."""
        whole = one.plane in VIEWS and one.path not in self._parts
        return turned_over(self.likeness(one)) if whole else None


def _as_kept(one: Series, look: _Look) -> Series:
    """The series as files of its plane are customarily stored, where it looks so and not as its direction cosines say:
    those of a patient who is taken to lie another way are wrong in all three directions.
    """
    if one.header is None or look.turned_over(one) is None:
        return one
    if "orientation" in one.assumed:
        return _by_image(one, look)
    plain = _plain(one)
    frames_only = one.turn.axes == AS_STORED.axes and not any(one.turn.flips[1:])
    if frames_only or look.turned_over(plain) not in (None, _FRAMES):
        return one
    if one.turn.axes != AS_STORED.axes and look.likeness(plain).max() < look.likeness(one).max() + MARGIN:
        return one
    note = "its image contradicts its direction cosines and shows slices as they are customarily stored; it is followed"
    kept = plain if look.turned_over(plain) is None else plain.reread(_REVERSED)
    return replace(kept, notes=(*one.notes, f"{note}."))


def _plain(one: Series) -> Series:
    """The stack of a file as it is stored, where a typical heart has such slices."""
    stored, mm = one.reread(one.turn.inverse), [one.spacing_mm[one.turn.axes.index(k)] for k in range(3)]
    _, rows, columns = VIEWS[one.plane]
    middle = (np.array(stored.counts.shape) - 1) / 2 * mm @ VIEWS[one.plane]
    return replace(
        stored,
        pixel_mm=(mm[1], mm[2]),
        slice_mm=mm[0],
        orientation=(*map(float, columns), *map(float, rows)),
        position=tuple(map(float, -middle)),
        assumed=("orientation", "position"),
    )


@dataclass(frozen=True, eq=False)
class _Way:
    """A way to read a series. wrong: what its header then says wrongly."""

    series: Series
    wrong: tuple[str, ...] = ()


def _acquisitions(series: Sequence[Series]) -> Iterator[list[int]]:
    """Numbers of the series that may show one volume, by what they say; none twice."""
    claims = [claim_of(one) for one in series]
    left = list(range(len(series)))
    while left:
        first = left[0]
        kind = series[first].attenuation_corrected
        members = [k for k in left if not apart(claims[first], claims[k]) and claims[k].frame == claims[first].frame]
        members = [k for k in members if series[k].attenuation_corrected == kind]
        left = [k for k in left if k not in members]
        yield members


def _by_planes(members: list[Series], look: _Look) -> list[Series]:
    """Series of one acquisition as most planes agree, with as little against their headers as may be; those that no
    other plane agrees with as their image shows them.
    """
    pairs = [(a, b) for a, b in itertools.combinations(range(len(members)), 2) if _may_agree(members[a], members[b])]
    ways = [[_Way(one)] for one in members]

    @functools.cache
    def agree(a: int, way_a: int, b: int, way_b: int) -> bool:
        return _differ(ways[a][way_a].series, ways[b][way_b].series)[0] <= SAME

    def agreeing(chosen: Sequence[int]) -> list[tuple[int, int]]:
        return [(a, b) for a, b in pairs if agree(a, chosen[a], b, chosen[b])]

    chosen: tuple[int, ...] = (0,) * len(members)
    if len(agreeing(chosen)) < len(pairs):
        ways = [list(_ways(one, members[0], look)) for one in members]
        if math.prod(map(len, ways)) <= _MOST_WAYS:
            every = itertools.product(*(range(len(each)) for each in ways))
            ranks = {way: (len(agreeing(way)), -sum(len(o[k].wrong) for o, k in zip(ways, way))) for way in every}
            top = max(ranks.values())
            best = [way for way in ranks if ranks[way] == top]
            # Whole volumes may be turned over: of ways that are as good, images tell.
            against = [sum(look.turned_over(o[k].series) is not None for o, k in zip(ways, way)) for way in best]
            chosen = best[int(np.argmin(against))]
    proved = set(itertools.chain.from_iterable(agreeing(chosen)))
    found = []
    for n, (each, k) in enumerate(zip(ways, chosen)):
        if n in proved:
            found.append(_told(each[k]))
            continue
        others = [members[other] for pair in pairs if n in pair for other in pair if other != n]
        found.append(_by_image(_set_against(each[0].series, others), look))
    return found


def _set_against(one: Series, others: Sequence[Series]) -> Series:
    """A series that no other plane proves, with a sentence where one has other counts on the same voxels."""
    # Planes that share no voxel contradict nothing, and other planes may be stored on another scale.
    unlike = [other.plane for other in others if SAME < _differ(one, other)[1] < math.inf]
    if not unlike:
        return one
    shown = " and ".join(unlike)
    note = f"its counts are not those of {shown} on the same voxels, as their headers place them; check its geometry."
    return replace(one, notes=(*one.notes, note))


def _differ(one: Series, other: Series) -> tuple[float, float, float]:
    """See `geometry.lattice.difference`."""
    return difference(one.counts, other.counts, Lattice.of_voxels(one), Lattice.of_voxels(other), _EVERY)


def _may_agree(a: Series, b: Series) -> bool:
    return a.plane != b.plane and a.frame_of_reference != "" and {a.plane, b.plane} <= VIEWS.keys()


def _ways(one: Series, lead: Series, look: _Look) -> Iterator[_Way]:
    """The ways to read a series, the one by its header first.

    Its frames may run the other way, and the stack then lies where it was or on the other side of its first frame; or
    it lies there as it is; or its middle is that of the lead; or its voxels lie as its image looks.
    """
    yield _Way(one)
    if one.header is None or one.turn.axes[0] != 0:
        return
    step = one.slice_mm * np.cross(one.orientation[:3], one.orientation[3:])
    across = np.add(one.position, (1 if one.turn.flips[0] else -1) * (len(one.counts) - 1) * step)
    amid = np.add(one.position, _middle(lead) - _middle(one))
    other = one.reread(_REVERSED)
    direction, place = "the direction of its frames", "its position"
    yield _Way(_placed(other, across), (direction,))
    yield _Way(other, (direction,))
    yield _Way(_placed(one, across), (place,))
    if one is not lead:
        yield _Way(_placed(one, amid), (place,))
        yield _Way(_placed(other, amid), (direction, place))
    flips = look.turned_over(one)
    if flips not in (None, _FRAMES):
        yield _Way(one.reread(Turn(flips=tuple(map(bool, flips)))), ("the way round of its slices",))


def _middle(one: Series) -> NDArray[np.float64]:
    lattice = Lattice.of_voxels(one)
    return lattice.first + (np.array(lattice.shape) - 1) / 2 @ lattice.steps


def _placed(one: Series, position: NDArray[np.float64]) -> Series:
    return replace(one, position=tuple(map(float, position)))


def _told(way: _Way) -> Series:
    if not way.wrong:
        return way.series
    note = f"{' and '.join(way.wrong)} by its header does not fit the other planes, whose counts show how it lies."
    return replace(way.series, notes=(*way.series.notes, note))


def _by_image(one: Series, look: _Look) -> Series:
    """A DICOM series as its image shows it: frames against its header, or whatever was assumed without one."""
    flips = look.turned_over(one) if one.header is not None else None
    if flips is None or not ("orientation" in one.assumed or flips == _FRAMES):
        return one
    seen = one.reread(Turn(flips=tuple(map(bool, flips))))
    ends = [ENDS[one.plane][k][:: -1 if seen.turn.flips[k] else 1] for k in range(3)]
    shown = ", ".join(f"{_AXES[k]} that run from {ends[k][0]} to {ends[k][1]}" for k in range(3) if flips[k])
    said = "was assumed" if "orientation" in one.assumed else "its header says"
    return replace(seen, notes=(*one.notes, f"its image shows {shown}, which is followed, against what {said}."))


def _doubted(one: Series, look: _Look) -> Series:
    """The series, with a sentence where its image looks turned over."""
    flips = look.turned_over(one)
    if flips is None:
        return one
    said = "its header" if one.header is not None else "what its file says"
    note = f"its image contradicts {said}: {seen_as(flips, one.plane)}; check which way it lies."
    return replace(one, notes=(*one.notes, note))
