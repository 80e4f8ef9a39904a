"""Which series of an export are NC and AC of one plane of one acquisition, and why the others are in no pair.

Studies are found, read, judged and lined up as the report has it done (`data.lineup`): what stands there beside each
other is a pair.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from spectac_fast.cohort.cohort import SeriesKey, reference_plane
from spectac_fast.cohort.own.aligned import NoPairError, Pair, aligned
from spectac_fast.cohort.own.places import folder_kind, patient_of, told_by
from spectac_fast.data.acquisition import apart, claim_of
from spectac_fast.data.facts import StudyFacts, facts_of_series
from spectac_fast.data.inputs import Found, Source, find_studies
from spectac_fast.data.lineup import kind_of, lined_up, series_of_study
from spectac_fast.data.scale import count_scale
from spectac_fast.data.search import files_below
from spectac_fast.errors import InputError, NoInputError, SpectacError
from spectac_fast.formats.series import Series, Told, volume_ending

OURS = "made by this program without a CT, so no AC"
ALONE = "no {} series of its phase, plane and acquisition is at hand"
SEVERAL = "another {} series of its phase and plane is taken"
OTHER = "another acquisition of its phase is taken ({})"
COPY = "another pair has the same NC counts"
UNREAD = "no short- or long-axis slices that can be told to be NC or AC"
_NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Left:
    """What is in no pair. said: a sentence that names the file; why: the reason alone, which names none."""

    said: str
    why: str


@dataclass(frozen=True)
class About:
    """One pair. numbers: of NC and AC among the series of its study (`series_of_study`). paths: of their files. shape,
    spacing_mm: [slices, rows, columns] of what both hold. sha256: of the NC counts. unlike, note: see `Pair`. facts:
    what NC's header says. A department's own AC is what it wants, whatever became of its scatter.
    """

    numbers: tuple[int, int]
    paths: tuple[Path, Path]
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    sha256: str
    unlike: float
    note: str
    facts: StudyFacts


@dataclass(frozen=True, eq=False)
class Study:
    """The pairs of a study. sources: its files. about: what is known of each pair. identity: whose it is, as far as
    headers say, as a hash.
    """

    sources: tuple[Source, ...]
    about: Mapping[SeriesKey, About]
    identity: str = ""

    def pairs(self) -> dict[SeriesKey, Pair]:
        """The pairs, read from the files."""
        series = series_of_study(self.sources, Found())
        return {key: aligned(series[of.numbers[0]], series[of.numbers[1]]) for key, of in self.about.items()}


@dataclass
class Matching:
    """patients: the studies of each. left: what is in no pair. notes: sentences on what was assumed."""

    patients: list[list[Study]] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def match(
    folder: Path,
    looked: Callable[[], None] = lambda: None,
    keep: Callable[[Study, dict[SeriesKey, Pair]], None] = lambda study, pairs: None,
) -> Matching:
    """The pairs below a folder. looked: called for each file that is read; keep: with the pairs of each study.

    Raises, with one sentence, InputError for a folder without a pair, NoInputError for one without any file of a study,
    SetupError for NIfTI without nibabel.
    """
    matching, studies = Matching(), []
    known: set[str] = set()
    files = 0
    for sources in _studies(folder, matching.left):
        files += len(sources)
        found = Found()
        series = series_of_study(sources, found)
        for _ in sources:
            looked()
        matching.left += [Left(text, UNREAD) for text in found.skipped]
        pairs = _sound(series, matching.left, known)
        if not pairs:
            continue
        header, where = claim_of(series[0]).header, {one: k for k, one in enumerate(series)}
        about = {key: _about(pair, ac, where) for key, (pair, ac) in pairs.items()}
        studies.append(Study(tuple(sources), about, header.patient if header else ""))
        keep(studies[-1], {key: pair for key, (pair, _) in pairs.items()})
    if not studies:
        raise _no_pairs(folder, files, matching.left)
    matching.patients = list(_patients(studies, matching.notes))
    return matching


def _no_pairs(folder: Path, files: int, left: Sequence[Left]) -> SpectacError:
    if not left:
        return NoInputError(f"{folder}: expected DICOM or NIfTI files of studies, found none.")
    reasons = Counter(each.why for each in left).most_common(3)
    said = "; ".join(f"{many} times: {why}" for why, many in reasons)
    return InputError(f"{folder}: expected pairs of NC and AC series, found none in {files} files of studies ({said}).")


def _studies(folder: Path, left: list[Left]) -> Iterator[list[Source]]:
    """The sources of each study: DICOM by its headers, NIfTI by its names."""
    # As the paths of sources are.
    folder = folder.absolute()
    try:
        found = find_studies([folder])
    except NoInputError:
        found = Found()
    yield from ([_told(source, folder) for source in study] for study in found.studies)
    trouble: list[str] = []
    by_name: dict[str, list[Source]] = {}
    for path in files_below(folder, trouble.append):
        if path.name.startswith(".") or volume_ending(path) not in _NIFTI:
            continue
        one = find_studies([path], told_by(path, folder))
        found.failed += one.failed
        by_name.setdefault(patient_of(path, folder), []).extend(source for study in one.studies for source in study)
    yield from filter(None, by_name.values())
    left += [Left(text, UNREAD) for text in dict.fromkeys((*found.skipped, *found.failed, *trouble))]


def _told(source: Source, folder: Path) -> Source:
    """A DICOM file whose kind stays open by all the evidence is what a folder on its way is called."""
    kind = folder_kind(source.path, folder)
    if kind is None:
        return source
    try:
        doubt = source.series(source.contents(), force=True).doubt
    except SpectacError:
        return source
    return replace(source, told=Told(kind=kind)) if doubt else source


def _sound(series: Sequence[Series], left: list[Left], known: set[str]) -> dict[SeriesKey, tuple[Pair, Series]]:
    """The pairs of a study, each with the AC series. known: digests of the NC counts of all pairs so far."""
    found: dict[SeriesKey, tuple[Pair, Series]] = {}
    for key, nc, ac in _beside(series, left):
        try:
            found[key] = aligned(nc, ac), ac
        except NoPairError as reason:
            left += [_left(one, str(reason)) for one in (nc, ac)]
    sound = {}
    for (phase, plane), (pair, ac) in found.items():
        digest = _digest(pair)
        lead, _ = found[phase, reference_plane(list(found), phase)]
        if why := COPY if digest in known else _without_scale(lead):
            left += [_left(one, why) for one in (pair.nc, ac)]
        else:
            known.add(digest)
            sound[phase, plane] = pair, ac
    return sound


def _about(pair: Pair, ac: Series, where: Mapping[Series, int]) -> About:
    paths, numbers = (pair.nc.path, ac.path), (where[pair.nc], where[ac])
    (facts,) = facts_of_series([pair.nc])
    return About(numbers, paths, pair.ac.shape, pair.nc.spacing_mm, _digest(pair), pair.unlike, pair.note, facts)


def _digest(pair: Pair) -> str:
    return hashlib.sha256(pair.nc.counts.tobytes()).hexdigest()


def _beside(series: Sequence[Series], left: list[Left]) -> Iterator[tuple[SeriesKey, Series, Series]]:
    """NC and AC of one phase, plane and acquisition; what stands alone goes to `left`."""
    left += [_left(one, OURS) for one in series if kind_of(one) not in ("NC", "AC")]
    plain = [one for one in series if kind_of(one) in ("NC", "AC")]
    partnered = [one for one in plain if any(_partners(one, other) for other in plain)]
    left += [_left(one, ALONE.format(_other(one))) for one in plain if one not in partnered]
    lineup = lined_up(partnered)
    for one, why in lineup.left:
        left.append(_left(one, OTHER.format(why) if why else SEVERAL.format(kind_of(one))))
    nc, ac = lineup.by_kind["NC"], lineup.by_kind["AC"]
    for key in dict.fromkeys((*nc, *ac)):
        if key in nc and key in ac:
            yield key, nc[key], ac[key]
        else:
            alone = nc.get(key) or ac[key]
            left.append(_left(alone, ALONE.format(_other(alone))))


def _partners(one: Series, other: Series) -> bool:
    beside = (one.phase, one.plane) == (other.phase, other.plane) and kind_of(one) != kind_of(other)
    return beside and not apart(claim_of(one), claim_of(other))


def _other(one: Series) -> str:
    return "AC" if kind_of(one) == "NC" else "NC"


def _left(one: Series, why: str) -> Left:
    kind = {"SD": "standard deviation", "physics": "by a map"}.get(kind_of(one), kind_of(one))
    return Left(f"{one.path}: {one.phase} {one.plane} {kind}: {why}.", why)


def _without_scale(pair: Pair) -> str:
    for kind, stack in (("NC", pair.of_nc(pair.nc.counts)), ("AC", pair.ac)):
        try:
            count_scale(stack, pair.nc.spacing_mm)
        except ValueError:
            return f"{kind} of its phase holds no counts in the heart region"
    return ""


def _patients(studies: Sequence[Study], notes: list[str]) -> Iterator[list[Study]]:
    """Studies of one identity are one patient's, such as stress and rest of two days; where they hold a phase twice, by
    a repetition or because names were taken out of an export, each is taken for a patient of its own.
    """
    groups: dict[object, list[Study]] = {}
    for study in studies:
        groups.setdefault(study.identity or study, []).append(study)
    repeated = 0
    for group in groups.values():
        phases = Counter(phase for study in group for phase in {phase for phase, _ in study.about})
        if max(phases.values()) == 1:
            yield group
        else:
            repeated += len(group)
            yield from ([study] for study in group)
    if repeated:
        notes.append(
            f"{repeated} studies have the patient's identity of another one and the same phase, as repetitions have, "
            "or exports whose names were taken out; each counts as a patient of its own, so that intervals are too "
            "narrow where it is none."
        )
