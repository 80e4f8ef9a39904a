"""Cohorts on the command line: those of `spectac phantom`, and folders of one's own pairs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.commands._flags import positive_float
from spectac_fast.errors import InputError, UsageError
from spectac_fast.terminal import say, warn

if TYPE_CHECKING:
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.cohort.joined import JoinedCohort
    from spectac_fast.cohort.map_cohort import MapCohort
    from spectac_fast.cohort.pairs import PairFolder

FOLDERS = """
A cohort is a folder of `spectac phantom`, or one of your own pairs: DIR/NC/NAME and DIR/AC/NAME, or DIR/A/NAME and
DIR/B/NAME where A is NC and B is AC, matched by name. A file is npy, [slices, rows, columns] or [rows, columns], or a
16-bit greyscale PNG or TIFF; 8-bit images are refused, unless --eight-bit takes their grey values for counts.
Names like PATIENT_stress_SA.npy (stress or rest; SA, VLA or HLA), or PATIENT_stress_SA_07.png for single slices, tell
what belongs together; any other name is a patient of its own. Training, validation and test are folders of their own.
Pixel size and slice distance stand in DIR/spacing.json, {"pixel_mm": 6.8, "slice_mm": 6.8}, or are given by --pixel-mm
and --slice-mm."""


def add_spacing(parser: argparse.ArgumentParser) -> None:
    """`--pixel-mm` and `--slice-mm`, and what a cohort is in the description."""
    parser.description = f"{parser.description}\n{FOLDERS}"
    for flag, help in (("--pixel-mm", "side of a pixel"), ("--slice-mm", "distance of slices")):
        parser.add_argument(flag, type=positive_float, metavar="MM", help=f"{help} in folders of pairs, mm")
    parser.add_argument(
        "--eight-bit",
        action="store_true",
        help="pairs are PNG or TIFF of 8 or 16 bits, grey or three equal channels, whose grey values are taken for "
        "counts; what is trained or measured on 8 bits is no measurement of counts",
    )


def open_cohort(folder: Path, args: argparse.Namespace) -> Cohort | PairFolder | MapCohort:
    """The cohort in a folder, of whichever kind; UsageError, with the reader's sentence, for what is none."""
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.cohort.map_cohort import MapCohort, is_map_cohort
    from spectac_fast.cohort.pairs import PairFolder, is_pair_folder

    made = any((folder / name).is_file() for name in ("index.json", "cohort.json"))
    own = is_pair_folder(folder)
    if made and not (args.pixel_mm is None and args.slice_mm is None):
        raise UsageError(f"--pixel-mm and --slice-mm are for folders of pairs; {folder} says its own spacing.")
    if not made and not own and is_pair_folder(folder / "train"):
        raise UsageError(f"{folder}: training, validation and test are folders of their own; give {folder / 'train'}.")
    if not made and not own:
        raise UsageError(
            f"{folder}: expected a cohort of `spectac phantom` (index.json or cohort.json) or pairs in the folders NC "
            "and AC, found neither."
        )
    try:
        if made:
            return MapCohort(folder) if is_map_cohort(folder) else Cohort(folder)
        pairs = PairFolder(folder, args.pixel_mm, args.slice_mm, args.eight_bit)
    except InputError as error:
        raise UsageError(str(error)) from error
    say(f"{folder}: {pairs.summary()}")
    if args.eight_bit:
        warn(f"spectac: {folder}: grey values are taken for counts; counts are lost in 8 bits")
    return pairs


def open_joined(folders: Sequence[Path], args: argparse.Namespace) -> JoinedCohort:
    """Several folders as one; raises as `open_cohort`."""
    from spectac_fast.cohort.joined import JoinedCohort

    try:
        return JoinedCohort([open_cohort(folder, args) for folder in folders])
    except InputError as error:
        raise UsageError(str(error)) from error
