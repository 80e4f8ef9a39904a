"""Reading NM reconstructions: pixel types, frame order, geometry; plane, phase and correction from codes or names."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from fake_study import ORIENTATIONS, edit, heart, without_codes, write_nc, write_study
from places import SAMPLES
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from spectac_fast import read_study
from spectac_fast.formats.dicom import read_series
from spectac_fast.formats.names import phase_in, plane_in


@pytest.fixture
def file(tmp_path, rng):
    path = tmp_path / "SA.dcm"
    write_nc(path, heart(rng))
    return path


@pytest.mark.parametrize("plane", ["SA", "VLA", "HLA"])
@pytest.mark.parametrize("phase", ["stress", "rest"])
def test_reads_what_was_written(tmp_path, rng, plane, phase):
    counts = rng.integers(0, 65536, (7, 20, 24)).astype(np.float32)
    write_nc(tmp_path / "x.dcm", counts, plane=plane, phase=phase, pixel_mm=(6.4, 5.5), slice_mm=6.25)
    series = read_study(tmp_path / "x.dcm").series[0]
    np.testing.assert_array_equal(series.counts, counts)
    assert series.counts.dtype == np.float32
    assert (series.plane, series.phase, series.attenuation_corrected) == (plane, phase, False)
    assert (series.pixel_mm, series.slice_mm, series.spacing_mm) == ((6.4, 5.5), 6.25, (6.25, 6.4, 5.5))
    np.testing.assert_allclose(series.orientation, ORIENTATIONS[plane], atol=1e-7)
    assert series.position == (-190.0, -80.5, 60.25)


@pytest.mark.parametrize(("dtype", "signed"), [("<u2", 0), ("<i2", 1), ("<u1", 0), ("<i1", 1)])
def test_every_legal_pixel_type(file, rng, dtype, signed):
    limits = np.iinfo(dtype)
    stored = rng.integers(0, limits.max, (29, 64, 64), dtype=np.dtype(dtype).type, endpoint=True)

    def change(ds):
        ds.BitsAllocated = ds.BitsStored = limits.bits
        ds.HighBit, ds.PixelRepresentation = limits.bits - 1, signed
        ds.PixelData = stored.tobytes()
        del ds["SmallestImagePixelValue"], ds["LargestImagePixelValue"]

    edit(file, change)
    np.testing.assert_array_equal(read_series(file).counts, stored.astype(np.float32))


def test_bits_above_the_stored_ones_are_no_counts(file, rng):
    stored = rng.integers(0, 4096, (29, 64, 64), dtype=np.uint16)

    def change(ds):
        ds.BitsStored, ds.HighBit = 12, 11
        ds.PixelData = (stored | 0xA000).tobytes()

    edit(file, change)
    np.testing.assert_array_equal(read_series(file).counts, stored)


def test_run_length_encoded_pixels(file):
    before = read_series(file).counts
    edit(file, lambda ds: ds.compress(RLELossless, generate_instance_uid=False))
    np.testing.assert_array_equal(read_series(file).counts, before)


def test_slices_come_in_slice_order(file):
    before = read_series(file).counts
    order = np.random.default_rng(1).permutation(29)

    def change(ds):
        ds.SliceVector = [int(k) + 1 for k in order]
        ds.PixelData = before[order].astype("<u2").tobytes()

    edit(file, change)
    np.testing.assert_array_equal(read_series(file).counts, before)


@pytest.mark.parametrize(
    ("keyword", "text", "plane", "phase"),
    [
        ("SeriesDescription", "STRESS_IRNCG_SA001_DS", "SA", "stress"),
        ("SeriesDescription", "Rest Vertical Long Axis", "VLA", "rest"),
        ("ImageID", "RestHLA", "HLA", "rest"),
        ("ProtocolName", "Exercise short-axis", "SA", "stress"),
    ],
)
def test_plane_and_phase_from_names(file, keyword, text, plane, phase):
    other = file.rename(file.with_name("nothing.dcm"))
    edit(other, lambda ds: (without_codes(ds), setattr(ds, keyword, text)))
    series = read_series(other)
    assert (series.plane, series.phase) == (plane, phase)


def test_plane_and_phase_from_file_and_folder(file, tmp_path):
    edit(file, without_codes)
    target = tmp_path / "rest" / "HLA.dcm"
    target.parent.mkdir()
    series = read_series(file.rename(target))
    assert (series.plane, series.phase) == ("HLA", "rest")


def test_plane_from_the_direction_of_the_slices(file):
    other = file.rename(file.with_name("stress.dcm"))
    edit(other, lambda ds: (without_codes(ds), setattr(ds, "SliceProgressionDirection", "BASE_TO_APEX")))
    assert read_series(other).plane == "SA"


def test_retired_codes_of_older_systems(file):
    def change(ds):
        view, state = Dataset(), Dataset()
        view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "G-A18B", "SRT", "Horizontal Long Axis"
        state.CodeValue, state.CodingSchemeDesignator, state.CodeMeaning = "F-01602", "SRT", "Resting State"
        ds.DetectorInformationSequence[0].ViewCodeSequence = [view]
        ds.AcquisitionContextSequence[0].ConceptCodeSequence = [state]
        ds.SeriesDescription = ds.ImageID = ""

    edit(file, change)
    series = read_series(file)
    assert (series.plane, series.phase) == ("HLA", "rest")


def test_names_hold_whole_terms_only():
    assert plane_in(["NASAL", "SA VLA", "x_VLA_2"]) == "VLA"
    assert phase_in(["STRUCTURE", "FOREST"]) is None


def test_correction_is_told_by_attribute_comment_and_name(file):
    edit(file, lambda ds: setattr(ds, "CorrectedImage", ["COR", "ATTN"]))
    assert read_series(file).attenuation_corrected
    edit(
        file, lambda ds: (delattr(ds, "CorrectedImage"), setattr(ds, "ImageComments", "$ReconCorr$ACSCRR$ReconFilter$"))
    )
    assert read_series(file).attenuation_corrected
    edit(file, lambda ds: setattr(ds, "ImageComments", "$ReconCorr$NC$ReconFilter$"))
    assert not read_series(file).attenuation_corrected
    edit(file, lambda ds: (delattr(ds, "ImageComments"), setattr(ds, "SeriesDescription", "STRESS IRAC SA")))
    assert read_series(file).attenuation_corrected


def test_folder_skips_and_lists_what_is_not_nc(tmp_path, rng):
    written = write_study(tmp_path / "deep" / "er", rng)
    write_nc(tmp_path / "SA_AC.dcm", heart(rng), corrected=True)
    (tmp_path / "notes.txt").write_text("not DICOM")
    (tmp_path / ".SA.dcm.tmp-12").write_bytes((tmp_path / "SA_AC.dcm").read_bytes()[:3000])
    (tmp_path / "ct.dcm").write_bytes(Path(get_testdata_file("CT_small.dcm")).read_bytes())
    study = read_study(tmp_path)
    assert {series.path.name for series in study.series} == set(written)
    assert {path.name for path, _ in study.skipped} == {"SA_AC.dcm", "ct.dcm", ".SA.dcm.tmp-12"}


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs the real GE files in ../shared/samples")
def test_real_ge_reconstruction_once_its_plane_is_named(tmp_path):
    path = tmp_path / "SA.dcm"
    path.write_bytes((SAMPLES / "ge_recon_tomo_rest.dcm").read_bytes())
    series = read_series(path)
    stored = pydicom.dcmread(path)
    # Its spacing is negative, its direction cosines are the camera's.
    np.testing.assert_array_equal(series.counts, stored.pixel_array[::-1])
    assert (series.phase, series.slice_mm, series.pixel_mm) == ("rest", 4.0, (4.0, 4.0))
    assert series.assumed == ("orientation", "position")
    cut, lies = series.notes[:2]
    assert cut == "207 values are 32767, the largest that 16 bits hold; what was above it has been lost."
    assert "not those of a heart" in lies
    assert "by the sign of SpacingBetweenSlices" in lies


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"SliceThickness": "13.6"}, "13.6 mm thick and lie 6.8 mm apart"),
        ({"LossyImageCompression": "01"}, "compressed with losses"),
        ({"BurnedInAnnotation": "YES"}, "its pixels hold text"),
        ({"SliceThickness": "7.0", "LossyImageCompression": "00", "BurnedInAnnotation": "NO"}, None),
    ],
)
def test_what_a_header_says_of_its_pixels_is_passed_on(tmp_path, rng, changes, said):
    write_nc(tmp_path / "SA.dcm", heart(rng))
    edit(tmp_path / "SA.dcm", lambda ds: [setattr(ds, keyword, value) for keyword, value in changes.items()])
    notes = read_series(tmp_path / "SA.dcm").notes
    assert [said in note for note in notes] == ([True] if said else [])
