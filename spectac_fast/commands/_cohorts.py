"""Cohorts on the command line: those of `spectac phantom`, and folders of one's own pairs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.commands._flags import positive_float
from spectac_fast.commands._messages import style_of
from spectac_fast.errors import InputError, NoInputError, UsageError
from spectac_fast.terminal import say, warn

if TYPE_CHECKING:
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.cohort.joined import JoinedCohort
    from spectac_fast.cohort.map_cohort import MapCohort
    from spectac_fast.cohort.own.grid import OneGrid
    from spectac_fast.cohort.own.studies import StudyPairs
    from spectac_fast.cohort.pairs import PairFolder
    from spectac_fast.cohort.views import ViewCohort

    GridCohort = Cohort | PairFolder | MapCohort | OneGrid
    AnyPairs = Cohort | PairFolder | StudyPairs

FOLDERS = """
A cohort is a folder of `spectac phantom`, or one of your own studies: DICOM as it lies in an export, however nested,
and NIfTI, of which NC and AC of one study, phase, plane and acquisition are pairs; what is in none is listed.

Or it is a folder of stacks without headers: DIR/NC/NAME and DIR/AC/NAME, or DIR/A/NAME and DIR/B/NAME where A is NC and
B is AC, matched by name. A file is npy, [slices, rows, columns] or [rows, columns], or a
16-bit greyscale PNG or TIFF; 8-bit images are refused, unless --eight-bit takes their grey values for counts.
Names like PATIENT_stress_SA.npy (stress or rest; SA, VLA or HLA), or PATIENT_stress_SA_07.png for single slices, tell
what belongs together; any other name is a patient of its own. Training, validation and test are folders of their own.
Pixel size and slice distance stand in DIR/spacing.json, {"pixel_mm": 6.8, "slice_mm": 6.8}, or are given by --pixel-mm
and --slice-mm."""


def add_spacing(parser: argparse.ArgumentParser) -> None:
    """`--pixel-mm` and `--slice-mm`, and what a cohort is in the description."""
    parser.description = f"{parser.description}\n{FOLDERS}"
    for flag, help in (("--pixel-mm", "side of a pixel"), ("--slice-mm", "distance of slices")):
        parser.add_argument(
            flag,
            type=positive_float,
            metavar="MM",
            help=f"{help} in folders of stacks, mm; in training, that to which studies are brought",
        )
    parser.add_argument(
        "--eight-bit",
        action="store_true",
        help="pairs are PNG or TIFF of 8 or 16 bits, grey or three equal channels, whose grey values are taken for "
        "counts; what is trained or measured on 8 bits is no measurement of counts",
    )


def open_pairs(folder: Path, args: argparse.Namespace) -> AnyPairs:
    """The NC and AC images in a folder; raises as `open_cohort`, and UsageError for attenuation maps."""
    from spectac_fast.cohort.map_cohort import MapCohort

    cohort = open_cohort(folder, args)
    if isinstance(cohort, MapCohort):
        raise UsageError(f"{folder}: expected images, NC and AC, found a cohort of attenuation maps.")
    return cohort


def open_cohort(folder: Path, args: argparse.Namespace) -> AnyPairs | MapCohort:
    """The cohort in a folder, of whichever kind; UsageError, with the reader's sentence, for what is none."""
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.cohort.map_cohort import MapCohort, is_map_cohort
    from spectac_fast.cohort.pairs import PairFolder, is_pair_folder

    made = any((folder / name).is_file() for name in ("index.json", "cohort.json"))
    if made and not (args.pixel_mm is None and args.slice_mm is None):
        raise UsageError(f"--pixel-mm and --slice-mm are for folders of pairs; {folder} says its own spacing.")
    if not made and not is_pair_folder(folder) and is_pair_folder(folder / "train"):
        raise UsageError(f"{folder}: training, validation and test are folders of their own; give {folder / 'train'}.")
    try:
        if made:
            return MapCohort(folder) if is_map_cohort(folder) else Cohort(folder)
        if not is_pair_folder(folder):
            return _studies(folder, args)
        pairs = PairFolder(folder, args.pixel_mm, args.slice_mm, args.eight_bit)
    except NoInputError:
        raise UsageError(
            f"{folder}: expected a cohort of `spectac phantom` (index.json or cohort.json), studies of NC and AC "
            "series (DICOM, NIfTI) or stacks in the folders NC and AC, found none of these."
        ) from None
    except InputError as error:
        raise UsageError(str(error)) from error
    say(f"{folder}: {pairs.summary()}")
    if args.eight_bit:
        warn(f"spectac: {folder}: grey values are taken for counts; counts are lost in 8 bits")
    return pairs


def _studies(folder: Path, args: argparse.Namespace) -> StudyPairs:
    """The studies in a folder, with a line for everything that is in no pair."""
    from spectac_fast.cohort.own.studies import StudyPairs
    from spectac_fast.progress import Progress

    with Progress(None, f"reading {folder}", "files", style=style_of(args)) as reading:
        studies = StudyPairs(folder, reading.step)
    say(f"{folder}: {studies.summary()}")
    say(*(f"in no pair: {left.said}" for left in studies.left))
    warn(*(f"spectac: {folder}: {note}" for note in studies.notes))
    return studies


def open_joined(folders: Sequence[Path], args: argparse.Namespace) -> JoinedCohort:
    """Several folders as one, studies on one grid; raises as `open_cohort`."""
    from spectac_fast.cohort.joined import JoinedCohort

    try:
        parts: list[GridCohort] = []
        for folder in folders:
            parts.append(open_on_grid(folder, args, parts[0] if parts else None))
        return JoinedCohort(parts)
    except InputError as error:
        raise UsageError(str(error)) from error


def open_views(folders: Sequence[Path]) -> ViewCohort:
    """The projections below folders, with a sentence for each file that cannot be read; UsageError for none."""
    from spectac_fast.cohort.views import ViewCohort

    try:
        cohort = ViewCohort(folders)
    except InputError as error:
        raise UsageError(str(error)) from error
    warn(*(f"spectac: {reason}" for reason in cohort.skipped))
    return cohort


def open_on_grid(folder: Path, args: argparse.Namespace, like: GridCohort | JoinedCohort | None = None) -> GridCohort:
    """A folder as `open_cohort` gives it; studies on the grid of another cohort, or on that of the command line, or on
    the one that most of them have.
    """
    from spectac_fast.cohort.own.grid import OneGrid
    from spectac_fast.cohort.own.studies import StudyPairs

    cohort = open_cohort(folder, args)
    if not isinstance(cohort, StudyPairs):
        return cohort
    try:
        grid = (_spacing(cohort, args), None) if like is None else (like.spacing_mm, like.shape)
        on_grid = OneGrid(cohort, *grid)
    except InputError as error:
        raise UsageError(str(error)) from error
    depth, pixel, _ = on_grid.spacing_mm
    rows, columns = on_grid.shape
    say(f"{folder}: brought to slices of {rows} x {columns} pixels of {pixel:g} mm, {depth:g} mm apart")
    return on_grid


def _spacing(cohort: StudyPairs, args: argparse.Namespace) -> tuple[float, float, float] | None:
    """What is told of the grid, with what is not from the commonest of the folder."""
    if args.pixel_mm is None and args.slice_mm is None:
        return None
    (*_, (depth, pixel, _)), _ = cohort.grids().most_common(1)[0]
    pixel = args.pixel_mm or pixel
    return (args.slice_mm or depth, pixel, pixel)
