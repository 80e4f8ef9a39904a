"""Copies, and other files under the same UIDs: none changes what another becomes, and each has UIDs of its own."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fake_slices import split
from fake_study import Times, edit, heart, write_nc, write_planes

from spectac_fast.correct import correct_files
from spectac_fast.data.copies import without_copies

PLANES = {"shape": (12, 24, 24)}


@dataclass(frozen=True)
class File:
    path: Path
    instance: str


@pytest.mark.parametrize(
    ("files", "groups"),
    [
        ("a/1 a/2 b/1 b/2", "a/1 a/2|b/1 b/2"),
        # The whole before its pieces, whatever comes first.
        ("a/1 b/1 b/2 b/3", "a/1|b/1 b/2 b/3"),
        ("x/1 y/2 z/x/1 z/y/2", "x/1 y/2|z/x/1 z/y/2"),
        ("1copy/1 1/1 2", "1copy/1|1/1 2"),
        ("a/1 a/x/1 a/y/1 b/2", "a/1 b/2|a/x/1|a/y/1"),
        ("1 2 3", "1 2 3"),
        # What has no UID is nobody's copy.
        ("a/- b/- b/1", "a/- b/- b/1"),
    ],
)
def test_what_lies_together_stays_together(files, groups):
    made = [File(Path("/r", name), name.rpartition("/")[2].strip("-")) for name in files.split()]
    found = [" ".join(str(file.path.relative_to("/r")) for file in group) for group in without_copies(made)]
    assert "|".join(found) == groups


def written(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.dcm")}


def corrected(tmp_path, out, *inputs):
    report = correct_files([tmp_path / each for each in inputs], tmp_path / out, Times(1.3))
    assert report.failed == []
    return written(tmp_path / out), report


def uid(content):
    ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
    return str(ds.SOPInstanceUID), str(ds.SeriesInstanceUID)


@pytest.fixture
def study(tmp_path):
    write_planes(tmp_path / "in" / "study", **PLANES)
    return tmp_path / "in" / "study"


def test_a_copy_changes_no_bytes(study, tmp_path):
    alone, _ = corrected(tmp_path, "alone", "in")
    assert len(alone) == 3
    shutil.copytree(study, study.parent / "a copy")
    shutil.copy(study / "stress_SA_NC.dcm", study / "stress_SA_NC copy.dcm")
    shutil.copytree(study, tmp_path / "in" / "archived" / "below")
    both, report = corrected(tmp_path, "both", "in")
    assert alone.items() <= both.items()
    assert len(both) == 3 + 3 + 1 + 4
    for name, content in alone.items():
        assert both[name.replace("study", "a copy")] == content
    assert not any("SOP Instance UID" in text for each in report.entries for text in each["warnings"])
    again = correct_files([tmp_path / "in"], tmp_path / "both", Times(1.3))
    assert (again.written, len(again.finished)) == ([], len(both))


def test_other_pixels_under_the_same_uids_have_uids_of_their_own_and_are_said(study, tmp_path, caplog):
    alone, _ = corrected(tmp_path, "alone", "in")
    shutil.copytree(study, study.parent / "z edited")

    def brighter(ds):
        pixels = ds.pixel_array.copy()
        pixels[5, 12, 12] += 1
        ds.PixelData = pixels.tobytes()

    edit(study.parent / "z edited" / "stress_SA_NC.dcm", brighter)
    with caplog.at_level(logging.WARNING):
        both, report = corrected(tmp_path, "both", "in")
    assert alone.items() <= both.items()
    assert uid(both["z edited/stress_SA_NC_DL-AC.dcm"]) != uid(both["study/stress_SA_NC_DL-AC.dcm"])
    assert len({uid(content)[0] for content in both.values()}) == len(set(both.values()))
    said = [text for each in report.entries for text in each["warnings"] if "has its SOP Instance UID" in text]
    assert [text.partition(": ")[0].rpartition("/in/")[2] for text in said] == [
        "study/stress_SA_NC.dcm", "z edited/stress_SA_NC.dcm",
    ]  # fmt: skip
    assert all(text in caplog.text for text in said)
    # Alone or not, and by whichever machine: one UID is one content.
    only, _ = corrected(tmp_path, "only", "in/z edited")
    assert {uid(each) for each in only.values()} <= {uid(each) for each in both.values()}


def test_another_header_is_another_object(tmp_path, rng):
    counts = heart(rng, (12, 24, 24))
    for name, change in (("a", lambda ds: None), ("b", lambda ds: setattr(ds, "PatientID", "OTHER"))):
        write_nc(tmp_path / name / "SA.dcm", counts)
        edit(tmp_path / name / "SA.dcm", change)
    (a,), (b,) = (corrected(tmp_path, f"out-{name}", name)[0].values() for name in ("a", "b"))
    assert uid(a) != uid(b)


def test_slices_in_files_of_their_own_may_lie_twice(tmp_path, rng):
    write_nc(tmp_path / "SA.dcm", heart(rng, (12, 24, 24)))
    split(tmp_path / "SA.dcm", tmp_path / "in" / "once")
    alone, _ = corrected(tmp_path, "alone", "in")
    shutil.copytree(tmp_path / "in" / "once", tmp_path / "in" / "twice")
    both, _ = corrected(tmp_path, "both", "in")
    assert alone.items() <= both.items()
    assert len(both) == 2
    np.testing.assert_equal(*both.values())
