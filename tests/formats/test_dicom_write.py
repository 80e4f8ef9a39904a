"""Writing: objects that validators accept, whose every byte follows from source, counts and provenance."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from dcmtk import complaints
from fake_study import Times, edit, heart, write_nc, write_study
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SAMPLES
from pydicom.dataset import Dataset
from pydicom.uid import UID

from spectac_fast import read_study, write_corrected
from spectac_fast.correct import correct_study
from spectac_fast.data.study import Study, read_nc_series
from spectac_fast.errors import SetupError
from spectac_fast.formats.dicom import quantise, read_series
from spectac_fast.formats.series import Provenance

PROVENANCE = Provenance("bbdm", "ab" * 32, "0.1.0", {"steps": 1, "seed": 7, "device": "cpu"})
needs_validator = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")


def write_one(tmp_path, counts, change=None, factor=1.0, **geometry):
    """Write an NC file, derive a corrected one with `factor` times its counts; returns both paths."""
    source = tmp_path / "SA.dcm"
    write_nc(source, counts, **geometry)
    if change:
        edit(source, change)
    study = read_study(source)
    (written,) = write_corrected(study, [study.series[0].counts * factor], tmp_path / "out", provenance=PROVENANCE)
    return source, written


@needs_validator
def test_synthetic_and_derived_objects_are_valid(tmp_path, rng):
    write_study(tmp_path / "in", rng)
    write_nc(tmp_path / "in" / "ac.dcm", heart(rng), corrected=True)
    study = read_study(tmp_path / "in")
    large = [series.counts * 200 for series in study.series]
    written = write_corrected(study, large, tmp_path / "out", provenance=PROVENANCE)
    files = sorted((tmp_path / "in").glob("*.dcm")) + written
    assert len(files) == 13
    for path in files:
        assert complaints(path) == set()
    entities = subprocess.run(["dcentvfy", *files], capture_output=True, text=True)
    assert entities.returncode == 0, entities.stdout + entities.stderr


@needs_validator
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs the real GE files in ../shared/samples")
def test_a_real_ge_file_gains_no_error(tmp_path):
    source = SAMPLES / "ge_recon_tomo_rest.dcm"
    series = read_nc_series(source, force=True)
    assert (series.plane, series.phase) == ("TRA", "rest")
    (counts,) = correct_study(Study((series,)), Times(1.5))
    written, deviation = write_corrected(
        Study((series,)), [counts], tmp_path, provenance=PROVENANCE, uncertainty=[counts / 9]
    )
    for path in (written, deviation):
        assert complaints(path) <= complaints(source)
        assert "transaxial slices" in pydicom.dcmread(path).DerivationDescription
        assert not [element for element in pydicom.dcmread(path).iterall() if element.tag.is_private]
    after = read_series(written, force=True)
    np.testing.assert_array_equal(after.counts, np.clip(np.rint(counts), 0, 65535))
    assert (after.slice_mm, after.attenuation_corrected) == (-4.0, True)


@needs_validator
def test_uncertainty_is_a_second_series_in_finer_steps(tmp_path, rng):
    write_study(tmp_path / "in", rng, phases=("rest",))
    study = read_study(tmp_path / "in")
    counts = [series.counts for series in study.series]
    deviations = [np.sqrt(array) / 10 for array in counts]
    written = write_corrected(study, counts, tmp_path / "out", provenance=PROVENANCE, uncertainty=deviations)
    assert [path.name.partition("_DL-AC")[2] for path in written] == [".dcm"] * 3 + ["-SD.dcm"] * 3
    for corrected, path, deviation in zip(written[:3], written[3:], deviations):
        assert complaints(path) == set()
        first, second = pydicom.dcmread(corrected), pydicom.dcmread(path)
        slope = second.RealWorldValueMappingSequence[0].RealWorldValueSlope
        assert np.abs(second.pixel_array * slope - deviation).max() <= slope / 2 <= 2.0**-11
        assert second.SeriesDescription.endswith("DL-AC SD")
        assert "UNCERTAINTY" in second.ImageComments
        for keyword in ("SeriesInstanceUID", "SOPInstanceUID", "SeriesNumber"):
            assert first[keyword].value != second[keyword].value
        assert first.DetectorInformationSequence == second.DetectorInformationSequence
    with pytest.raises(ValueError, match="one uncertainty"):
        write_corrected(study, counts, tmp_path / "out", uncertainty=deviations[:2])
    entities = subprocess.run(["dcentvfy", *written], capture_output=True, text=True)
    assert entities.returncode == 0, entities.stdout + entities.stderr


def test_force_takes_corrected_slices_and_says_so(tmp_path, rng):
    write_nc(tmp_path / "ac.dcm", heart(rng), corrected=True)
    series = read_nc_series(tmp_path / "ac.dcm", force=True)
    (written,) = write_corrected(Study((series,)), [series.counts], tmp_path / "out", provenance=PROVENANCE)
    after = pydicom.dcmread(written)
    assert list(after.CorrectedImage).count("ATTN") == 1
    assert "attenuation-corrected already" in after.DerivationDescription


def test_text_about_the_model_fits_every_header(tmp_path, rng):
    write_nc(tmp_path / "SA.dcm", heart(rng))
    study = read_study(tmp_path / "SA.dcm")
    strange = Provenance("modèle\\7\n" * 20, "cd" * 32, "0.1.0", {f"setting {k}": "x" * 40 for k in range(40)})
    (written,) = write_corrected(study, [study.series[0].counts], tmp_path / "out", provenance=strange)
    after = pydicom.dcmread(written)
    assert len(after.DerivationDescription) == 1024
    assert all(word in after.DerivationDescription for word in ("Research use only", "cd" * 32, "mod?le?7?"))
    assert len(after.ContributingEquipmentSequence[-1].ManufacturerModelName) <= 64


def test_a_mapping_by_a_table_is_replaced(tmp_path, rng):
    def change(ds):
        item = Dataset()
        item.RealWorldValueLUTData = [0.5 * value for value in range(2000)]
        item.add_new("RealWorldValueFirstValueMapped", "US", 0)
        item.add_new("RealWorldValueLastValueMapped", "US", 1999)
        ds.RealWorldValueMappingSequence = [item]

    counts = heart(rng)
    _, written = write_one(tmp_path, counts, change)
    after = pydicom.dcmread(written)
    (mapping,) = after.RealWorldValueMappingSequence
    assert "RealWorldValueLUTData" not in mapping
    read = after.pixel_array * mapping.RealWorldValueSlope
    assert np.abs(read - counts / 2).max() <= mapping.RealWorldValueSlope / 2
    assert after.pixel_array.max() > 2**15


@pytest.mark.skipif(shutil.which("dcmftest") is None, reason="needs dcmftest and dcm2xml (Debian: dcmtk)")
def test_dcmtk_reads_derived_objects(tmp_path, rng):
    _, written = write_one(tmp_path, heart(rng))
    assert subprocess.run(["dcmftest", written], capture_output=True).returncode == 0
    dump = subprocess.run(["dcmdump", "+P", "NumberOfFrames", written], capture_output=True, text=True)
    assert "[29]" in dump.stdout


def test_header_says_what_it_is_and_keeps_what_it_was(tmp_path, rng):
    source, written = write_one(tmp_path, heart(rng), slice_mm=-6.8)
    before, after = pydicom.dcmread(source), pydicom.dcmread(written)
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "SpacingBetweenSlices"):
        assert after[keyword] == before[keyword]
    for keyword in (
        "PixelSpacing",
        "DetectorInformationSequence",
        "SliceVector",
        "FrameIncrementPointer",
        "SeriesDate",
        "ContentTime",
        "AcquisitionDate",
    ):
        assert after[keyword] == before[keyword]
    assert after.SpacingBetweenSlices == -6.8
    assert list(after.ImageType) == ["DERIVED", "PRIMARY", "RECON TOMO", "EMISSION"]
    assert after.CorrectedImage[-1] == "ATTN"
    assert after.SeriesNumber == before.SeriesNumber + 9000
    assert after.SeriesDescription == before.SeriesDescription + " DL-AC"
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert {after.SOPInstanceUID, after.SeriesInstanceUID}.isdisjoint({before.SOPInstanceUID, before.SeriesInstanceUID})
    assert UID(after.SOPInstanceUID).is_valid
    text = after.DerivationDescription
    assert all(word in text for word in ("bbdm", "ab" * 32, "steps 1", "seed 7", "Research use only"))
    (mapping,) = after.RealWorldValueMappingSequence
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueLastValueMapped) == (1, 65535)
    assert after.ContributingEquipmentSequence[-1].PurposeOfReferenceCodeSequence[0].CodeValue == "109102"


def test_stale_and_private_attributes_are_dropped(tmp_path, rng):
    def change(ds):
        icon = Dataset()
        icon.Rows = 1
        ds.IconImageSequence = [icon]
        ds.add_new(0x00090010, "LO", "GEMS_GENIE_1")
        ds.add_new(0x00091001, "LO", "checksum")
        ds.add_new(0x60000010, "US", 64)
        ds.WindowCenter, ds.WindowWidth = ["68460", "1"], ["136920", "2"]
        ds.CountsAccumulated = 12345

    _, written = write_one(tmp_path, heart(rng), change)
    after = pydicom.dcmread(written)
    assert "IconImageSequence" not in after
    assert not {element.tag.group for element in after} & {0x0009, 0x6000}
    assert after.WindowWidth == after.LargestImagePixelValue == 2 * after.WindowCenter
    assert after.CountsAccumulated is None


def test_what_the_standard_requires_is_there_where_the_source_lacks_it(tmp_path, rng):
    write_nc(tmp_path / "SA.dcm", heart(rng))

    def change(ds):
        del ds.FrameOfReferenceUID, ds.SpacingBetweenSlices
        del ds.DetectorInformationSequence[0].ImageOrientationPatient
        del ds.DetectorInformationSequence[0].ImagePositionPatient
        ds.add_new(0x00330010, "LO", "SIEMENS MED NM")
        ds.add_new(0x00331011, "UN", b"no such float")

    edit(tmp_path / "SA.dcm", change)
    study = read_study(tmp_path / "SA.dcm")
    (path,) = write_corrected(study, [study.series[0].counts], tmp_path / "out")
    ds = pydicom.dcmread(path)
    assert ds.FrameOfReferenceUID.startswith("2.25.")
    assert ds["SpacingBetweenSlices"].is_empty
    assert ds.DetectorInformationSequence[0]["ImageOrientationPatient"].is_empty
    assert not [element for element in ds if element.tag.is_private]
    if shutil.which("dciodvfy"):
        assert complaints(path) == set()


def test_signed_source_becomes_unsigned(tmp_path, rng):
    counts = heart(rng, peak=20000)

    def change(ds):
        ds.PixelRepresentation = 1
        ds.PixelData = counts.astype("<i2").tobytes()
        ds.add_new("SmallestImagePixelValue", "SS", -1)
        ds.add_new("PixelPaddingValue", "SS", -1)

    _, written = write_one(tmp_path, counts, change, factor=1.5)
    after = pydicom.dcmread(written)
    assert after.PixelRepresentation == 0
    np.testing.assert_array_equal(after.pixel_array, np.rint(counts * 1.5))


def test_frames_keep_their_stored_order(tmp_path, rng):
    counts, order = heart(rng), rng.permutation(29)

    def change(ds):
        ds.SliceVector = [int(k) + 1 for k in order]
        ds.PixelData = counts[order].astype("<u2").tobytes()

    _, written = write_one(tmp_path, counts, change)
    np.testing.assert_array_equal(pydicom.dcmread(written).pixel_array, counts[order])
    np.testing.assert_array_equal(read_series(written).counts, counts)


def test_bytes_follow_from_source_counts_and_provenance(tmp_path, rng):
    write_study(tmp_path / "in", rng)
    study = read_study(tmp_path / "in")
    counts = [series.counts * 1.3 for series in study.series]

    def content(name, provenance, values=counts):
        return [path.read_bytes() for path in write_corrected(study, values, tmp_path / name, provenance=provenance)]

    first = content("a", PROVENANCE)
    assert content("b", PROVENANCE) == first
    assert content("a", PROVENANCE) == first
    uids = {pydicom.dcmread(p).SOPInstanceUID for p in [*(tmp_path / "a").iterdir()]}
    for k, change in enumerate([{"seed": 8}, {"precision": "bf16"}, {"device": "cuda"}]):
        content(f"c{k}", Provenance("bbdm", "ab" * 32, "0.1.0", {**PROVENANCE.settings, **change}))
        uids |= {pydicom.dcmread(p).SOPInstanceUID for p in [*(tmp_path / f"c{k}").iterdir()]}
    assert len(uids) == 24
    assert content("d", None) == content("e", None)
    assert content("d", None) != content("f", None, [2 * c for c in counts])


def test_synthetic_bytes_follow_from_arguments(tmp_path, rng):
    counts = heart(rng)
    for name in ("a", "b"):
        write_nc(tmp_path / name, counts)
    write_nc(tmp_path / "c", counts, study_key="another")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    a, c = pydicom.dcmread(tmp_path / "a"), pydicom.dcmread(tmp_path / "c")
    assert {a.StudyInstanceUID, a.SOPInstanceUID}.isdisjoint({c.StudyInstanceUID, c.SOPInstanceUID})


@pytest.mark.parametrize("value", [-1, 65536, np.nan])
def test_synthetic_counts_must_fit(tmp_path, value):
    with pytest.raises(ValueError, match="65535"):
        write_nc(tmp_path / "x.dcm", np.full((2, 4, 4), value))
    assert not list(tmp_path.iterdir())


@settings(deadline=None)
@given(
    st.floats(0, 1e9, allow_subnormal=False),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1.0, 0.1, 0.0]),
    st.sampled_from([65535, 32767]),
)
def test_quantise_keeps_counts_within_half_a_step(top, seed, finest, largest):
    counts = np.random.default_rng(seed).uniform(0, 1, (2, 3, 4)) * top
    pixels, slope = quantise(counts, finest, largest)
    # Half a step, and the rounding of quotient, product and slope.
    assert np.abs(pixels * slope - counts).max() <= slope / 2 + 4 * np.spacing(counts.max() + slope)
    assert pixels.max() <= largest
    if finest:
        assert (slope == finest) == (np.rint(counts.max() / finest) <= largest)
    else:
        assert counts.max() < 1e-37 or pixels.max() >= largest // 2
    assert np.log2(slope / (finest or 1.0)) % 1 == 0


@pytest.mark.parametrize(
    ("top", "stored", "slope"),
    [(65535, 65535, 1), (65535.49, 65535, 1), (65535.51, 32768, 2), (131071, 65535, 2), (131072, 32768, 4), (0, 0, 1)],
)
def test_quantise_at_the_edge(top, stored, slope):
    pixels, found = quantise(np.array([[[0.0, top]]]))
    # 131071 / 2 lies half-way and rounds to the even 65536, which does not fit: it is held at the top.
    assert (pixels[0, 0, 1], found) == (stored, slope)


def test_negative_counts_become_zero_and_nan_is_refused():
    assert quantise(np.array([[[-3.0, 2.0]]]))[0].tolist() == [[[0, 2]]]
    with pytest.raises(ValueError, match="finite"):
        quantise(np.array([[[np.nan]]]))


def test_large_counts_are_scaled_and_the_slope_recorded(tmp_path, rng):
    counts = heart(rng)
    _, written = write_one(tmp_path, counts, factor=300.0)
    after = pydicom.dcmread(written)
    (mapping,) = after.RealWorldValueMappingSequence
    slope = mapping.RealWorldValueSlope
    assert slope >= counts.max() * 300 / 65535.5
    assert np.abs(after.pixel_array * slope - counts * 300).max() <= slope / 2


def test_an_existing_mapping_is_multiplied(tmp_path, rng):
    def change(ds):
        ds.RescaleSlope, ds.RescaleIntercept = "0.5", "0"
        item = Dataset()
        item.RealWorldValueSlope, item.RealWorldValueIntercept = 0.25, 0.0
        item.add_new("RealWorldValueFirstValueMapped", "US", 0)
        item.add_new("RealWorldValueLastValueMapped", "US", 1000)
        ds.RealWorldValueMappingSequence = [item]

    _, written = write_one(tmp_path, np.full((2, 8, 8), 40000.0), change, factor=2.0)
    after = pydicom.dcmread(written)
    assert after.RealWorldValueMappingSequence[0].RealWorldValueSlope == 0.5
    assert float(after.RescaleSlope) == 0.5
    assert (after.pixel_array == 40000).all()


def test_wrong_counts_are_refused_and_nothing_is_written(tmp_path, rng):
    write_study(tmp_path / "in", rng)
    study = read_study(tmp_path / "in")
    counts = [series.counts for series in study.series]
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="6 series"):
        write_corrected(study, counts[:5], out)
    with pytest.raises(ValueError, match="shape"):
        write_corrected(study, [*counts[:5], counts[5][:-1]], out)
    with pytest.raises(ValueError, match="finite"):
        write_corrected(study, [*counts[:5], counts[5] * np.nan], out)
    assert not out.exists()


def test_a_failing_write_leaves_nothing_behind(tmp_path, rng, monkeypatch):
    write_study(tmp_path / "in", rng)
    study = read_study(tmp_path / "in")
    written = []

    def full(ds, file, **options):
        file.write(b"half a header")
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(file)

    monkeypatch.setattr(Dataset, "save_as", full)
    with pytest.raises(SetupError, match="No space left on device"):
        write_corrected(study, [series.counts for series in study.series], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_folders_are_kept(tmp_path, rng):
    write_nc(tmp_path / "in" / "case 1" / "a.DCM", heart(rng))
    write_nc(tmp_path / "in" / "case 1" / "1.2.840", heart(rng), plane="VLA")
    study = read_study(tmp_path / "in")
    written = write_corrected(study, [series.counts for series in study.series], tmp_path / "out")
    assert {str(path.relative_to(tmp_path)) for path in written} == {
        "out/case 1/a_DL-AC.dcm",
        "out/case 1/1.2.840_DL-AC.dcm",
    }


def test_a_series_without_header_cannot_be_derived_from(rng, tmp_path):
    write_nc(tmp_path / "SA.dcm", heart(rng))
    series = read_study(tmp_path / "SA.dcm").series[0]
    bare = type(series)(**{**vars(series), "header": None})
    with pytest.raises(ValueError, match="header"):
        write_corrected(Study((bare,)), [bare.counts], tmp_path / "out")
