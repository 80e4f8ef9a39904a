"""Projections with which nothing can be reconstructed, and what is no projections: a sentence each."""

import numpy as np
import pytest
from fake_study import heart, write_nc
from fake_tomo import ANGLES, VIEWS, counts, edited, frames, keep, with_heads, write_tomo
from mutants import mutant
from pydicom.data import get_testdata_file

from spectac_fast.errors import InputError, NoInputError, NotApplicableError, SpectacError
from spectac_fast.formats.dicom.read import read_series
from spectac_fast.formats.dicom.tomo.read import read_projections


@pytest.fixture
def file(tmp_path, rng):
    return write_tomo(tmp_path / "tomo.dcm", counts(rng))


def sentence(path, error=InputError, read=read_projections):
    with pytest.raises(error) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text
    assert text.endswith(".")
    assert "\n" not in text
    assert "SECRET" not in text.replace(str(path), "")
    return text


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("RECON TOMO", "reconstructed slices"),
        ("RECON GATED TOMO", "gated reconstruction"),
        ("WHOLE BODY", "whole-body"),
        ("STATIC", "planar"),
        ("DYNAMIC", "dynamic"),
        ("SECRET", "another Image Type"),
    ],
)
def test_image_types(file, kind, found):
    edited(file, lambda ds: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", kind, "EMISSION"]))
    assert found in sentence(file, NotApplicableError)


def test_a_transmission_scan(file):
    edited(file, lambda ds: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", "TOMO", "TRANSMISSION"]))
    assert "transmission" in sentence(file, NotApplicableError)


def test_slices_of_a_study(tmp_path, rng):
    write_nc(tmp_path / "sa.dcm", heart(rng))
    assert "spectac correct" in sentence(tmp_path / "sa.dcm", NotApplicableError)


def test_correct_names_the_command_for_projections(file):
    assert "spectac reconstruct" in sentence(file, NotApplicableError, read_series)


def test_another_class_and_no_file(tmp_path):
    assert "Secondary Capture" in sentence(get_testdata_file("JPEG2000.dcm"), NotApplicableError)
    assert "no such file" in sentence(tmp_path / "absent.dcm", NoInputError)


def test_a_dynamic_acquisition(file):
    edited(file, lambda ds: setattr(ds, "NumberOfPhases", 4))
    assert "dynamic" in sentence(file, NotApplicableError)


def test_another_nuclide(file):
    def change(ds):
        code = ds.RadiopharmaceuticalInformationSequence[0].RadionuclideCodeSequence[0]
        code.CodeValue, code.CodeMeaning = "21572004", "^123^Iodine"
        ds.RadiopharmaceuticalInformationSequence[0].Radiopharmaceutical = "MIBG"
        ds.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalCodeSequence = []
        ds.EnergyWindowInformationSequence[0].EnergyWindowName = ""

    assert "I-123" in sentence(edited(file, change), NotApplicableError)


def test_a_window_beside_the_peak(file):
    def change(ds):
        limits = ds.EnergyWindowInformationSequence[0].EnergyWindowRangeSequence[0]
        limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = "92", "125"

    assert "92 to 125 keV" in sentence(edited(file, change), NotApplicableError)


def test_thallium_is_read(file):
    def change(ds):
        code = ds.RadiopharmaceuticalInformationSequence[0].RadionuclideCodeSequence[0]
        code.CodeValue, code.CodeMeaning = "60057003", "^201^Thallium"
        ds.RadiopharmaceuticalInformationSequence[0].Radiopharmaceutical = "Thallous chloride"
        ds.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalCodeSequence = []
        ds.EnergyWindowInformationSequence[0].EnergyWindowName = ""
        limits = ds.EnergyWindowInformationSequence[0].EnergyWindowRangeSequence[0]
        limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = "69", "83"

    assert read_projections(edited(file, change)).isotope == "Tl-201"


def test_missing_frames(file, rng):
    edited(file, lambda ds: keep(ds, range(VIEWS - 1)))
    assert f"expected {VIEWS} frames ({VIEWS} views), found {VIEWS - 1}" in sentence(file)


def test_missing_frames_of_a_detector(file, rng):
    edited(file, with_heads(2, rng))
    edited(file, lambda ds: keep(ds, range(VIEWS - 2)))
    assert f"2 detectors x {VIEWS // 2} views), found {VIEWS - 2}" in sentence(file)


def test_a_frame_twice(file):
    edited(file, lambda ds: keep(ds, [0, *range(VIEWS - 1)]))
    assert "twice" in sentence(file)


def test_vectors_of_another_length(file):
    edited(file, lambda ds: setattr(ds, "AngularViewVector", [1, 2, 3]))
    assert "AngularViewVector" in sentence(file)


def test_numbers_that_contradict_their_vectors(file):
    edited(file, lambda ds: setattr(ds, "NumberOfDetectors", 2))
    assert "2 detectors, found 1" in sentence(file)


def test_detectors_that_nothing_tells_apart(file, rng):
    edited(file, with_heads(2, rng))
    edited(file, lambda ds: delattr(ds, "DetectorVector"))
    assert "DetectorVector" in sentence(file)


def test_detectors_with_one_start(file, rng):
    def change(ds):
        with_heads(2, rng)(ds)
        for item in ds.DetectorInformationSequence:
            del item.StartAngle, item.ImageOrientationPatient
        ds.RotationInformationSequence[0].StartAngle = "225"

    assert "for each of 2 detectors" in sentence(edited(file, change))


@pytest.mark.parametrize(
    ("keyword", "value", "found"),
    [
        ("StartAngle", None, "Start Angle"),
        ("RotationDirection", "", "Rotation Direction"),
        ("RotationDirection", "SECRET", "Rotation Direction"),
        ("AngularStep", "5", "cover 120"),
    ],
)
def test_orbits(file, keyword, value, found):
    edited(file, lambda ds: setattr(ds.RotationInformationSequence[0], keyword, value))
    assert found in sentence(file)


def test_neither_step_nor_arc(file):
    def change(ds):
        rotation = ds.RotationInformationSequence[0]
        del rotation.AngularStep, rotation.ScanArc

    assert "Angular Step or a Scan Arc" in sentence(edited(file, change))


def test_a_tilted_detector(file):
    edited(file, lambda ds: setattr(ds.DetectorInformationSequence[0], "GantryDetectorTilt", "15"))
    assert "tilt" in sentence(file)


def test_few_views(tmp_path, rng):
    path = write_tomo(tmp_path / "tomo.dcm", counts(rng)[:, ::3], angles=ANGLES[::3])
    assert "at least 12 views" in sentence(path)


def test_views_without_counts(tmp_path, rng):
    made = counts(rng)
    made[0, 20:] = 0
    assert "none at 109, 116, 124, 131 degrees" in sentence(write_tomo(tmp_path / "tomo.dcm", made))


def test_a_camera_that_stopped(tmp_path, rng):
    made = counts(rng)
    made[0, 9:] = made[0, 9]
    assert "the same counts at 26, 34 degrees" in sentence(write_tomo(tmp_path / "tomo.dcm", made))


def test_views_that_were_cut_short_or_counted_otherwise(tmp_path, rng):
    made = counts(rng)
    assert not read_projections(write_tomo(tmp_path / "whole.dcm", made)).notes
    made[0, 8] = rng.poisson(20, made[0, 8].shape)
    made[0, 18:] = rng.poisson(60, made[0, 18:].shape)
    (note,) = read_projections(write_tomo(tmp_path / "tomo.dcm", made)).notes
    where = ", ".join(f"{ANGLES[k]:.0f}" for k in (7, 8, 17))
    assert f"more than 25 % to the next view at {where} degrees" in note


def test_bins(file):
    edited(file, lambda ds: setattr(ds, "PixelSpacing", ["6.8", "4.8"]))
    assert "square" in sentence(file)
    edited(file, lambda ds: delattr(ds, "PixelSpacing"))
    assert "Pixel Spacing" in sentence(file)


def test_counts_below_zero(file):
    def change(ds):
        ds.PixelRepresentation = 1
        made = frames(ds).astype("<i2") - 20
        ds.PixelData = made.tobytes()
        for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue"):
            del ds[keyword]

    assert "at least zero" in sentence(edited(file, change))


def test_truncated(file):
    file.write_bytes(file.read_bytes()[:-5000])
    assert "truncated" in sentence(file)


def test_damage_is_a_sentence(file, fresh):
    whole, refused, read = file.read_bytes(), 0, 0
    for _ in range(30):
        kind, content = mutant(whole, fresh)
        try:
            found = read_projections(file, content)
        except SpectacError as error:
            refused += "SECRET" not in str(error)
        else:
            read += 1
            assert np.isfinite(found.peak.counts).all(), kind
    assert refused + read == 30
