"""The bundled studies of `spectac demo`: one synthetic patient, stress and rest, three planes, NC and AC as DICOM; and
the projections of a real one.

``study.zip`` is made by the commands

    spectac phantom --cases 1 --seed SEED -o DIR
    python -m spectac_fast.data.demo DIR/case-SEED

``patient.zip`` holds one file of another project, byte for byte, and a note on where it is from and its licence.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from spectac_fast.errors import InputError, SetupError
from spectac_fast.formats.atomic import stage_bytes
from spectac_fast.outputs import OWN, check_folder

ARCHIVE, PATIENT = "study.zip", "patient.zip"
PROJECTIONS, NOTICE = "stress_TOMO.dcm", "NOTICE.txt"
NAMES = tuple(
    f"{phase}_{plane}_{kind}.dcm"
    for phase in ("stress", "rest")
    for plane in ("SA", "VLA", "HLA")
    for kind in ("NC", "AC")
)


def unpack(folder: Path) -> list[Path]:
    """Unpack the bundled study into ``folder``, which is made if missing, and return its twelve files.

    Raises:
        SetupError: the archive is missing or damaged, or the folder cannot be written.
    """
    return _extracted(ARCHIVE, NAMES, folder)


def unpack_patient(folder: Path) -> Path:
    """Unpack the real patient's projections, an NM TOMO file, and the note on its licence into ``folder``, which is
    made if missing, and return the former. Raises as `unpack`.
    """
    return _extracted(PATIENT, (PROJECTIONS, NOTICE), folder)[0]


def _extracted(name: str, members: Sequence[str], folder: Path) -> list[Path]:
    try:
        with as_file(files(__name__) / name) as archive, zipfile.ZipFile(archive) as study:
            check_folder(folder)
            for member in members:
                _put(study.read(member), folder / member)
    except (FileNotFoundError, KeyError, zipfile.BadZipFile) as error:
        raise SetupError(f"{name}: expected the demo study in the installed package, found {error}.") from None
    except OSError as error:
        raise SetupError(f"{folder}: expected a folder to write to, found {error}.") from None
    return [folder / member for member in members]


def _put(content: bytes, path: Path) -> None:
    """Write a file, unless it is there just so; raises SetupError where something else is."""
    if path.is_file() and not path.is_symlink() and path.read_bytes() == content:
        return
    sentence = OWN.obstacle(path, None)
    if sentence:
        raise SetupError(f"{path}: expected no file or that of the demo, found another; choose another folder.")
    os.replace(stage_bytes(content, path), path)


def pack(case: Path, archive: Path) -> int:
    """Pack a case folder of `spectac phantom` into ``archive``; equal files give equal bytes. Returns its size.

    Raises:
        InputError: one of the twelve files is missing.
    """
    missing = [name for name in NAMES if not (case / name).is_file()]
    if missing:
        raise InputError(f"{case}: expected a case folder of spectac phantom, found no {missing[0]}.")
    with zipfile.ZipFile(archive, "w") as study:
        for name in NAMES:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            study.writestr(entry, (case / name).read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return archive.stat().st_size
