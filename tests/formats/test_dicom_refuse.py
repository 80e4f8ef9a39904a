"""One sentence for every file that cannot be corrected: it names the file and the reason, never the patient."""

import shutil

import numpy as np
import pytest
from fake_study import edit, heart, without_codes, write_nc, write_study
from places import SAMPLES
from pydicom.data import get_testdata_file

from spectac_fast import read_study, write_corrected
from spectac_fast.errors import InputError, NoInputError, NotApplicableError
from spectac_fast.formats.dicom import read_series


@pytest.fixture
def file(tmp_path, rng):
    path = tmp_path / "SA.dcm"
    write_nc(path, heart(rng))
    return path


def sentence(path, error=InputError):
    """The one sentence for a bad file: it names the file, never the patient."""
    with pytest.raises(error) as caught:
        read_study(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert text.endswith(".")
    assert "SECRET" not in text
    return text


def test_repeated_slices_are_refused(file):
    edit(file, lambda ds: setattr(ds, "SliceVector", [1] * 29))
    assert "Slice Vector" in sentence(file)


def test_a_decimal_comma_is_named_where_the_number_matters(file):
    content = file.read_bytes()
    assert content.count(b"6.8\\6.8") == 1
    file.write_bytes(content.replace(b"6.8\\6.8", b"6,8\\6,8"))
    assert "expected numbers in its Pixel Spacing" in sentence(file)
    file.write_bytes(content)
    edit(file, lambda ds: ds.add_new("PatientWeight", "DS", "91.75"))
    content = file.read_bytes()
    assert content.count(b"91.75") == 1
    file.write_bytes(content.replace(b"91.75", b"91,75"))
    assert len(read_study(file).series) == 1


def test_folder_of_several_studies_is_refused(tmp_path, rng):
    write_nc(tmp_path / "a.dcm", heart(rng), study_key="one")
    write_nc(tmp_path / "b.dcm", heart(rng), study_key="two")
    assert "found 2" in sentence(tmp_path)


def test_damage_in_a_folder_is_not_skipped(tmp_path, rng):
    write_study(tmp_path, rng)
    path = tmp_path / "rest_SA_NC.dcm"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"rest_SA_NC\.dcm: truncated"):
        read_study(tmp_path)


def test_nothing_there(tmp_path):
    assert "no such file" in sentence(tmp_path / "absent.dcm", NoInputError)
    assert "no DICOM file" in sentence(tmp_path, NoInputError)


def test_already_corrected_file_is_refused(tmp_path, rng):
    write_nc(tmp_path / "ac.dcm", heart(rng), corrected=True)
    assert "already attenuation-corrected" in sentence(tmp_path / "ac.dcm")


def test_text_file(tmp_path):
    (tmp_path / "a.dcm").write_text("Dear colleague,\n" * 50)
    assert "expected a DICOM file" in sentence(tmp_path / "a.dcm")


def test_every_truncation_is_refused(file, rng):
    whole = file.read_bytes()
    for size in {0, 1, 131, 132, 140, 200, *rng.integers(0, len(whole), 60).tolist(), len(whole) - 1}:
        file.write_bytes(whole[:size])
        with pytest.raises(InputError) as caught:
            read_study(file)
        assert not isinstance(caught.value, NotApplicableError)
        assert "SECRET" not in str(caught.value)


def test_damaged_bytes_are_read_and_written_or_refused(file, tmp_path, rng, recwarn):
    whole = np.frombuffer(file.read_bytes(), np.uint8)
    header = len(whole) - 29 * 64 * 64 * 2
    for _ in range(150):
        bad = whole.copy()
        at = rng.integers(132, header, rng.integers(1, 12))
        bad[at] = rng.integers(0, 256, len(at))
        file.write_bytes(bad.tobytes())
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        try:
            study = read_study(file)
            written = write_corrected(study, [study.series[0].counts], tmp_path / "out")
        except InputError:
            assert not list(tmp_path.glob("out/*"))
        else:
            np.testing.assert_array_equal(read_series(written[0]).counts, np.maximum(study.series[0].counts, 0))
    assert not recwarn.list


@pytest.mark.parametrize(
    "name", ["JPEG2000.dcm", "JPEG2000-embedded-sequence-delimiter.dcm", "JPEG-lossy.dcm", "JPGExtended.dcm"]
)
def test_nm_secondary_captures(name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom ships no {name}")
    assert "Secondary Capture" in sentence(path)


def test_ct():
    assert "CT Image Storage" in sentence(get_testdata_file("CT_small.dcm"))


def test_deflated_file_is_not_inflated():
    assert "Deflated" in sentence(get_testdata_file("image_dfl.dcm"))


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs the real GE files in ../shared/samples")
def test_real_ge_files_are_refused_with_the_reason():
    assert "projections" in sentence(SAMPLES / "ge_tomo_projections_stress.dcm")
    assert "transaxial" in sentence(SAMPLES / "ge_recon_tomo_rest.dcm")


CLAIMED = ("Rows", "Columns", "NumberOfFrames", "NumberOfSlices")
BAD_HEADERS = {
    "no pixels": (lambda ds: delattr(ds, "PixelData"), "Pixel Data"),
    "empty pixels": (lambda ds: setattr(ds, "PixelData", b""), "Pixel Data"),
    "zero counts": (lambda ds: setattr(ds, "PixelData", bytes(29 * 64 * 64 * 2)), "only zeros"),
    "gated": (lambda ds: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", "RECON GATED TOMO", "EMISSION"]), "gated"),
    "no image type": (lambda ds: delattr(ds, "ImageType"), "RECON TOMO"),
    "no class": (lambda ds: delattr(ds, "SOPClassUID"), "SOP Class"),
    "no pixel size": (lambda ds: delattr(ds, "PixelSpacing"), "PixelSpacing"),
    "NaN pixel size": (lambda ds: setattr(ds, "PixelSpacing", ["NaN", "6.8"]), "PixelSpacing"),
    "negative pixel size": (lambda ds: setattr(ds, "PixelSpacing", [-6.8, 6.8]), "positive"),
    "infinite spacing": (lambda ds: setattr(ds, "SpacingBetweenSlices", "inf"), "SpacingBetweenSlices"),
    "no spacing": (
        lambda ds: (setattr(ds, "SpacingBetweenSlices", None), delattr(ds, "SliceThickness")),
        "SpacingBetweenSlices or SliceThickness",
    ),
    "zero spacing": (
        lambda ds: (setattr(ds, "SpacingBetweenSlices", 0), setattr(ds, "SliceThickness", 0)),
        "found 0",
    ),
    "five cosines": (
        lambda ds: setattr(ds.DetectorInformationSequence[0], "ImageOrientationPatient", [1, 0, 0, 0, 1]),
        "6 finite numbers",
    ),
    "skew axes": (
        lambda ds: setattr(ds.DetectorInformationSequence[0], "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        "perpendicular",
    ),
    "NaN position": (
        lambda ds: setattr(ds.DetectorInformationSequence[0], "ImagePositionPatient", ["NaN", 0, 0]),
        "ImagePositionPatient",
    ),
    "4 GB claim": (
        lambda ds: [setattr(ds, key, n) for key, n in zip(CLAIMED, (65535, 65535, 1, 1))],
        "MiB",
    ),
    "too many frames": (lambda ds: [setattr(ds, key, 30) for key in CLAIMED[2:]], "truncated"),
    "colour": (lambda ds: setattr(ds, "SamplesPerPixel", 3), "one 8 or 16 bit sample"),
    "inverted": (lambda ds: setattr(ds, "PhotometricInterpretation", "MONOCHROME1"), "MONOCHROME2"),
    "no identity": (lambda ds: delattr(ds, "SeriesInstanceUID"), "SeriesInstanceUID"),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
@pytest.mark.filterwarnings("ignore:.*VR DS")
def test_bad_header(file, name):
    change, word = BAD_HEADERS[name]
    edit(file, change)
    assert word in sentence(file)


def test_neither_plane_nor_phase(file):
    other = file.rename(file.with_name("nothing.dcm"))
    edit(other, without_codes)
    assert "SA, VLA or HLA" in sentence(other)
    edit(other, lambda ds: setattr(ds, "ImageID", "SA"))
    assert "stress or rest" in sentence(other)


def test_identity_stays_out_of_messages_and_warnings(file, recwarn, caplog):
    edit(file, lambda ds: (setattr(ds, "PatientBirthDate", "19560101"), delattr(ds, "PixelSpacing")))
    raw = file.read_bytes().replace(b"19560101", b"SECRET.1")
    file.write_bytes(raw)
    sentence(file)
    assert not recwarn.list
    assert "SECRET" not in caplog.text
