"""What a user points at: files, folders, archives, DICOMDIR and patterns lead to the same studies."""

import os
import shutil
import zipfile

import numpy as np
import pydicom
import pytest
from fake_slices import split
from fake_study import Times, edit, heart, write_nc, write_study
from pydicom.fileset import FileSet

from spectac_fast.correct import correct_files
from spectac_fast.data.inputs import common_root, find_studies
from spectac_fast.errors import NoInputError
from spectac_fast.formats.dicom import read_series


@pytest.fixture
def cases(tmp_path, rng):
    for case in ("a", "b"):
        write_study(tmp_path / "in" / case, rng, planes=("SA",), phases=("stress",), study_key=case)
    return tmp_path / "in"


def names(found):
    return [[source.path.name for source in study] for study in found.studies]


def archive(folder, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for each in sorted(folder.rglob("*")):
            file.write(each, each.relative_to(folder))
    return path


def files(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.dcm")}


def test_an_archive_gives_what_its_folder_gives(cases, tmp_path):
    packed = archive(cases, tmp_path / "night.ZIP")
    correct_files([cases], tmp_path / "from-folder", Times())
    correct_files([packed], tmp_path / "from-archive", Times())
    assert files(tmp_path / "from-archive") == files(tmp_path / "from-folder")
    assert set(files(tmp_path / "from-archive")) == {f"{case}/stress_SA_NC_DL-AC.dcm" for case in "ab"}
    assert {path.name for path in tmp_path.iterdir()} == {"in", "night.ZIP", "from-folder", "from-archive"}


def test_damaged_and_hostile_archives_are_one_sentence(cases, tmp_path):
    packed = archive(cases, tmp_path / "whole.zip")
    content = packed.read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    with zipfile.ZipFile(tmp_path / "flipped.zip", "w", zipfile.ZIP_STORED) as file:
        file.write(cases / "a" / "stress_SA_NC.dcm", "a.dcm")
    flipped = bytearray((tmp_path / "flipped.zip").read_bytes())
    flipped[5000] ^= 0xFF
    (tmp_path / "flipped.zip").write_bytes(flipped)
    with zipfile.ZipFile(tmp_path / "leaves.zip", "w") as file:
        file.write(cases / "a" / "stress_SA_NC.dcm", "../../a.dcm")
    found = find_studies([tmp_path / "whole.zip", tmp_path / "cut.zip", tmp_path / "flipped.zip"])
    assert len(found.studies) == 2
    assert len(found.failed) == 2
    assert "cut.zip: the archive cannot be read" in found.failed[0] + found.failed[1]
    assert "a.dcm: cannot be read from its archive" in found.failed[0] + found.failed[1]
    found = find_studies([tmp_path / "leaves.zip"])
    assert found.studies == []
    assert "leads out of it" in found.failed[0]


def test_a_dicomdir_leads_to_its_files(cases, tmp_path):
    disc = FileSet()
    for path in sorted(cases.rglob("*.dcm")):
        disc.add(path)
    disc.write(tmp_path / "disc")
    found = find_studies([tmp_path / "disc" / "DICOMDIR"])
    assert len(found.studies) == 2
    assert found.failed == found.skipped == []
    # In a folder it is an index of what is found anyway, whatever case a system copied its names in.
    for path in sorted((tmp_path / "disc").rglob("*"), reverse=True):
        if path.name != "DICOMDIR":
            path.rename(path.with_name(path.name.lower()))
    again = find_studies([tmp_path / "disc"])
    assert names(again) == [[name.lower() for name in each] for each in names(found)]
    assert again.failed == again.skipped == []


def test_a_dicomdir_under_another_name_is_known_by_its_class(cases, tmp_path):
    disc = FileSet()
    for path in sorted(cases.rglob("*.dcm")):
        disc.add(path)
    disc.write(tmp_path / "disc")
    index = shutil.copy(tmp_path / "disc" / "DICOMDIR", tmp_path / "disc" / "index.bin")
    assert names(find_studies([index])) == names(find_studies([tmp_path / "disc" / "DICOMDIR"]))
    # An image that has the name is an image.
    shutil.copy(cases / "a" / "stress_SA_NC.dcm", cases / "a" / "DICOMDIR")
    shutil.copy(index, cases / "b" / "INDEX")
    packed = archive(cases, tmp_path / "night.zip")
    for place in (cases, packed):
        report = correct_files([place], tmp_path / f"out-{place.name}", Times())
        assert (len(report.written), report.failed) == (3, [])
        (sentence,) = report.skipped
        assert sentence.endswith(
            "INDEX: expected NM slices (Nuclear Medicine Image Storage), found Media Storage Directory Storage."
        )


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_dicomdir_cannot_lead_elsewhere(cases, tmp_path):
    disc = FileSet()
    disc.add(cases / "a" / "stress_SA_NC.dcm")
    disc.write(tmp_path / "disc")
    ds = pydicom.dcmread(tmp_path / "disc" / "DICOMDIR")
    for record in ds.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = ["..", "in", "a", "stress_SA_NC.dcm"]
    ds.save_as(tmp_path / "disc" / "DICOMDIR")
    found = find_studies([tmp_path / "disc" / "DICOMDIR"])
    assert found.studies == []
    assert "leaves it" in found.failed[0]


def test_a_dicomdir_that_lists_missing_files_says_so(cases, tmp_path):
    disc = FileSet()
    for path in sorted(cases.rglob("*.dcm")):
        disc.add(path)
    disc.write(tmp_path / "disc")
    first = next(path for path in sorted((tmp_path / "disc").rglob("*")) if path.is_file() and path.name != "DICOMDIR")
    first.unlink()
    found = find_studies([tmp_path / "disc" / "DICOMDIR"])
    assert (len(found.studies), len(found.failed)) == (1, 1)
    assert "no such file" in found.failed[0]
    found = find_studies([tmp_path / "disc"])
    assert (len(found.studies), found.failed) == (1, [])
    assert found.skipped == [f"{tmp_path / 'disc' / 'DICOMDIR'}: it lists 2 files, of which 1 are not here."]


def test_patterns(cases, tmp_path, rng):
    write_nc(cases / "b" / "AC.dcm", heart(rng), corrected=True, study_key="b")
    assert names(find_studies([cases / "*" / "stress*.dcm"])) == [["stress_SA_NC.dcm"]] * 2
    assert len(find_studies([cases / "**" / "*.dcm"]).studies) == 2
    assert len(find_studies([cases / "[ab]"]).studies) == 2
    assert common_root([cases / "*" / "stress*.dcm"]) == cases
    # What a pattern finds was not named: it is skipped, not refused.
    report = correct_files([cases / "*" / "*.dcm"], tmp_path / "out", Times())
    assert (len(report.written), len(report.skipped), report.failed) == (2, 1, [])
    with pytest.raises(NoInputError):
        find_studies([cases / "*.dicom"])


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(cases):
    shutil.copy(cases / "a" / "stress_SA_NC.dcm", cases / "SA[1].dcm")
    found = find_studies([cases / "SA[1].dcm"])
    assert names(found) == [["SA[1].dcm"]]
    assert found.studies[0][0].named


@pytest.mark.skipif(os.geteuid() == 0, reason="needs a user other than root, who may read everything")
def test_a_file_that_may_not_be_read(cases):
    (cases / "a" / "stress_SA_NC.dcm").chmod(0)
    found = find_studies([cases / "a" / "stress_SA_NC.dcm", cases / "b"])
    assert (len(found.studies), len(found.failed)) == (1, 1)


def test_every_source_is_found_once(cases, tmp_path):
    packed = archive(cases, tmp_path / "x.zip")
    found = find_studies([cases, cases / "a", cases / "a" / "stress_SA_NC.dcm", cases / "*" / "*.dcm", packed, packed])
    assert sorted(len(study) for study in found.studies) == [2, 2]
    assert [source.named for study in found.studies for source in study].count(True) == 1


@pytest.mark.parametrize("slice_mm", [6.8, -6.8])
def test_slices_in_files_of_their_own_are_one_series(tmp_path, rng, slice_mm):
    counts = heart(rng)
    write_nc(tmp_path / "SA.dcm", counts, slice_mm=slice_mm)
    order = list(np.random.default_rng(1).permutation(len(counts)))
    split(tmp_path / "SA.dcm", tmp_path / "in", order)
    report = correct_files([tmp_path / "in"], tmp_path / "out", Times())
    assert (len(report.written), report.slices, report.failed, report.skipped) == (1, 29, [], [])
    after, whole = read_series(report.written[0]), read_series(tmp_path / "SA.dcm")
    np.testing.assert_array_equal(after.counts, whole.counts)
    np.testing.assert_allclose(after.position, whole.position, atol=1e-3)
    # In the file they run along their normal, whatever the order of the files they came from.
    stored = counts if slice_mm > 0 else counts[::-1]
    np.testing.assert_array_equal(pydicom.dcmread(report.written[0]).pixel_array, stored)
    assert after.slice_mm == pytest.approx(6.8, abs=1e-4)
    assert after.header.SOPInstanceUID != whole.header.SOPInstanceUID
    sources = [item.ReferencedSOPInstanceUID for item in after.header.SourceImageSequence]
    assert sorted(sources) == sorted(f"{whole.header.SOPInstanceUID}.{k + 1}" for k in range(29))
    assert correct_files([tmp_path / "in"], tmp_path / "out", Times()).studies == 0


def test_a_series_that_lacks_a_slice_or_mixes_sizes_is_refused(tmp_path, rng):
    write_nc(tmp_path / "SA.dcm", heart(rng))
    split(tmp_path / "SA.dcm", tmp_path / "gap")
    (tmp_path / "gap" / "IM0007").unlink()
    split(tmp_path / "SA.dcm", tmp_path / "mixed")
    edit(tmp_path / "mixed" / "IM0003", lambda ds: setattr(ds, "PixelSpacing", [3.4, 3.4]))
    for name, sentence in (("gap", "evenly spaced"), ("mixed", "several values of PixelSpacing")):
        report = correct_files([tmp_path / name], tmp_path / "out", Times())
        assert (len(report.failed), report.written) == (1, [])
        assert sentence in report.failed[0]
    assert not (tmp_path / "out").exists()
