"""Names, numbers and identifiers as scanners write them: what is derived can always be written, and told apart."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from fake_slices import split
from fake_study import Times, edit, heart, write_nc
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from spectac_fast import read_study, write_corrected
from spectac_fast.correct.files import correct_files
from spectac_fast.formats.series import Provenance

PROVENANCE = Provenance("times", "", "0.1.0", {"seed": 0})


def derived(path, out):
    study = read_study(path)
    written = write_corrected(study, [one.counts for one in study.series], out, provenance=PROVENANCE)
    for each in written if shutil.which("dciodvfy") else ():
        result = subprocess.run(["dciodvfy", each], capture_output=True, text=True)
        assert "Error" not in result.stdout + result.stderr
    return [pydicom.dcmread(each) for each in written]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("STRESS\\SA IRNC", "STRESS/SA IRNC DL-AC"),
        ("\\", "/ DL-AC"),
        ("", "DL-AC"),
        ("stress " * 9, "stress " * 8 + "st DL-AC"),
    ],
)
def test_descriptions_of_several_values(tmp_path, rng, text, expected):
    path = tmp_path / "stress_SA_NC.dcm"
    write_nc(path, heart(rng))
    edit(path, lambda ds: ds.add_new("SeriesDescription", "LO", text.strip()))
    (after,) = derived(path, tmp_path / "out")
    assert after.SeriesDescription == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [(b"12", 9012), (b"2147483640", 9000), (b"99999999999 ", 9000), (b"1.2.840 ", 9000), (b"A7", 9000), (b"", 9000)],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_series_numbers_that_are_none_or_too_large(tmp_path, rng, raw, expected):
    path = tmp_path / "stress_SA.dcm"
    write_nc(path, heart(rng))
    tag = Tag("SeriesNumber")

    def change(ds):
        # Not yet a number to pydicom, which would refuse to write most of these.
        ds._dict[tag] = RawDataElement(tag, "IS", len(raw), raw, 0, False, True)

    edit(path, change)
    (after,) = derived(path, tmp_path / "out")
    assert after.SeriesNumber == expected


def test_a_series_number_of_another_vr_is_a_number_again(tmp_path, rng):
    path = tmp_path / "stress_SA.dcm"
    write_nc(path, heart(rng))
    edit(path, lambda ds: (ds.add_new("SeriesNumber", "LO", "12"), ds.add_new("ImageComments", "LO", "x")))
    (after,) = derived(path, tmp_path / "out")
    assert (after["SeriesNumber"].VR, after.SeriesNumber, after["ImageComments"].VR) == ("IS", 9012, "LT")


def test_one_instance_uid_in_two_series_gives_two(tmp_path, rng):
    for name, plane in (("a", "SA"), ("b", "VLA")):
        write_nc(tmp_path / f"{name}.dcm", heart(rng), plane=plane)
    taken = pydicom.dcmread(tmp_path / "a.dcm").SOPInstanceUID

    def change(ds):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = taken

    alone = derived(tmp_path / "a.dcm", tmp_path / "alone")
    edit(tmp_path / "b.dcm", change)
    both = derived(tmp_path, tmp_path / "both")
    # The other one changes nothing about the first.
    assert len({ds.SOPInstanceUID for ds in both}) == 2
    assert alone[0].SOPInstanceUID in {ds.SOPInstanceUID for ds in both}
    again = derived(tmp_path, tmp_path / "again")
    assert [ds.SOPInstanceUID for ds in again] == [ds.SOPInstanceUID for ds in both]


def test_one_instance_uid_in_two_studies_gives_two(tmp_path, rng):
    counts = heart(rng)
    for name, key in (("a", "study-1"), ("b", "study-2")):
        write_nc(tmp_path / name / "SA.dcm", counts, study_key=key)
    taken = pydicom.dcmread(tmp_path / "a" / "SA.dcm").SOPInstanceUID

    def change(ds):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = taken

    edit(tmp_path / "b" / "SA.dcm", change)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")

    def uids(inputs, out):
        report = correct_files([tmp_path / each for each in inputs], tmp_path / out, Times())
        return [pydicom.dcmread(path).SOPInstanceUID for path in sorted(report.written)]

    alone, both, same = uids(["a"], "1"), uids(["a", "b"], "2"), uids(["a", "copy"], "3")
    assert len(set(both)) == 2
    assert set(alone) < set(both)
    # A copy is the same object, as it is alone.
    assert set(same) == set(alone)


def by_slope(ds, frame, k):
    """Every slice uses all its bits: its slope differs, and so do the bits it needs."""
    slope = max(int(frame.max()), 1) / 4095
    ds.RescaleSlope, ds.RescaleIntercept = f"{slope:.10g}", "0"
    ds.BitsStored, ds.HighBit = (12, 11) if k % 2 else (16, 15)
    ds.PixelData = np.rint(frame / slope).astype("<u2").tobytes()


def by_padding(ds, frame, k):
    values = frame.astype("<i2")
    values[:3] = -1
    ds.PixelRepresentation, ds.PixelData = 1, values.tobytes()
    ds.add_new("PixelPaddingValue", "SS", -1)


def by_width(ds, frame, k):
    if frame.max() < 256:
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.PixelData = frame.astype("u1").tobytes()


@pytest.mark.parametrize("change", [by_slope, by_padding, by_width])
def test_slices_in_files_of_their_own_have_their_own_values(tmp_path, rng, change):
    counts = heart(rng)
    write_nc(tmp_path / "SA.dcm", counts)
    split(tmp_path / "SA.dcm", tmp_path / "in", change=change)
    report = correct_files([tmp_path / "in"], tmp_path / "out", Times(2.0))
    assert (len(report.written), report.failed) == (1, [])
    after = pydicom.dcmread(report.written[0])
    (mapping,) = after.RealWorldValueMappingSequence
    found = after.pixel_array * mapping.RealWorldValueSlope
    assert float(after.get("RescaleSlope", 1)) == pytest.approx(mapping.RealWorldValueSlope)
    if change is by_padding:
        assert (after.pixel_array[:, :3] == -1).all()
        found, counts = found[:, 3:], counts[:, 3:]
    # Half a step of a slice that was written, twice over, and half a step of what is written.
    steps = counts.max(axis=(1, 2)) / 4095 if change is by_slope else np.zeros(len(counts))
    bound = steps + mapping.RealWorldValueSlope / 2 + 1e-5 * counts.max()
    assert (np.abs(found - 2 * counts).max(axis=(1, 2)) <= bound).all()
