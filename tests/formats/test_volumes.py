"""NIfTI and npy in and out: the counts of the DICOM way, whichever way round a file lies, in the source's own form."""

import gzip
import json
from io import BytesIO

import numpy as np
import pytest
import torch
from fake_study import Times, heart, write_nc, write_planes

from spectac_fast import cli
from spectac_fast.correct import Corrector, Report, carry_out
from spectac_fast.data.geometry.resample import check_geometry
from spectac_fast.data.inputs import find_studies
from spectac_fast.errors import InputError, NoInputError, SetupError
from spectac_fast.formats.dicom import read_series
from spectac_fast.formats.series import Told
from spectac_fast.formats.volumes import glance, read_volume

nibabel = pytest.importorskip("nibabel", reason="needs nibabel (extra: nifti)")

SA_STRESS = Told("SA", "stress")


def affine_of(series):
    """The affine (RAS) of [columns, rows, slices] in a DICOM series."""
    row, column = np.array(series.orientation[:3]), np.array(series.orientation[3:])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * series.pixel_mm[1], column * series.pixel_mm[0]
    affine[:3, 2], affine[:3, 3] = np.cross(row, column) * series.slice_mm, series.position
    return np.diag([-1, -1, 1, 1]) @ affine


def image_of(series, dtype=np.float32):
    return nibabel.Nifti1Image(series.counts.transpose(2, 1, 0).astype(dtype), affine_of(series))


def run(inputs, out, translator=None, told=SA_STRESS, **options):
    corrector, report = Corrector(translator or Times(), told=told, **options), Report()
    carry_out(corrector, corrector.plan(inputs, out), report)
    return report


class Turned(Times):
    """Its answer depends on where in the slice, and before or behind which slice, a count lies."""

    context_mm = (-6.8, 6.8)

    def translate(self, nc, seeds=None, neighbours=None, **options):
        super().translate(nc, seeds, neighbours, **options)
        return nc + nc.flip(-1) / 4 + nc.roll(1, -2) / 8 + neighbours[:, :1] / 16


class ByColumn(Times):
    """Adds counts that grow along its columns, which run another way in each plane."""

    def translate(self, nc, seeds=None, neighbours=None, **options):
        return super().translate(nc, seeds, neighbours, **options) + torch.linspace(0, 0.5, nc.shape[-1])


@pytest.mark.parametrize("plane", ["SA", "VLA", "HLA"])
@pytest.mark.parametrize("lay", ["as DICOM", "dcm2niix", "closest canonical", "slices reversed", "NIfTI-2"])
def test_counts_are_those_of_the_dicom_way(tmp_path, rng, plane, lay):
    write_nc(tmp_path / "in.dcm", heart(rng, (21, 30, 32)), plane=plane)
    run([tmp_path / "in.dcm"], tmp_path / "dicom", Turned())
    expected = Corrector(Turned()).map([tmp_path / "in.dcm"])
    image = image_of(read_series(tmp_path / "in.dcm"))
    if lay == "dcm2niix":
        image = image.as_reoriented([[0, 1], [1, -1], [2, 1]])
    elif lay == "closest canonical":
        image = nibabel.as_closest_canonical(image)
    elif lay == "slices reversed":
        image = image.as_reoriented([[0, 1], [1, 1], [2, -1]])
    elif lay == "NIfTI-2":
        image = nibabel.Nifti2Image(image.get_fdata(), image.affine)
    nibabel.save(image, tmp_path / "x.nii.gz")
    report = run([tmp_path / "x.nii.gz"], tmp_path / "out", Turned(), Told(plane, "stress"))
    assert [path.name for path in report.written] == ["x_DL-AC.nii.gz"]
    after, image = nibabel.load(report.written[0]), nibabel.load(tmp_path / "x.nii.gz")
    assert type(after) is type(image)
    np.testing.assert_array_equal(after.affine, image.affine)
    assert after.shape == image.shape
    assert after.get_data_dtype() == np.float32
    assert b"not a medical device" in after.header["descrip"].tobytes()
    # Back to the order of the DICOM file, by the affines alone.
    to = np.linalg.inv(affine_of(read_series(tmp_path / "in.dcm"))) @ after.affine
    orientation = nibabel.io_orientation(to)
    got = nibabel.apply_orientation(after.get_fdata(dtype=np.float32), orientation).transpose(2, 1, 0)
    np.testing.assert_array_equal(got, next(expected).counts[0])


def save_planes(folder, dicom, change=lambda image: image):
    """The DICOM planes in a folder as NIfTI files of one study."""
    folder.mkdir()
    for path in sorted(dicom.glob("*.dcm")):
        nibabel.save(change(image_of(read_series(path))), folder / path.name.replace(".dcm", ".nii"))


def test_planes_are_averaged_as_those_of_dicom_where_the_affine_is_a_hearts(tmp_path):
    write_planes(tmp_path / "dicom")
    save_planes(tmp_path / "nifti", tmp_path / "dicom")
    (expected,) = Corrector(ByColumn()).map([tmp_path / "dicom"])
    (got,) = Corrector(ByColumn()).map([tmp_path / "nifti" / "*"])
    assert [set(others) for others in got.partners] == [{1, 2}, {0, 2}, {0, 1}]
    of_dicom = dict(zip((series.plane for series in expected.study.series), expected.counts))
    for series, counts in zip(got.study.series, got.counts):
        # Positions and directions are float32 in the affine.
        np.testing.assert_allclose(counts, of_dicom[series.plane], rtol=1e-4, atol=1e-2)
        (alone,) = Corrector(ByColumn()).map([series.path])
        assert np.abs(counts - alone.counts[0]).max() > 10
    report = run([tmp_path / "nifti" / "*"], tmp_path / "out", ByColumn(), Told())
    notes = {path.name: nibabel.load(path).header["descrip"].tobytes() for path in report.written}
    assert b"DL-AC VLA+HLA+SA. Research use only, not a medical device." in notes["stress_VLA_NC_DL-AC.nii"]


def coded(codes):
    """Stores the next image under the next of some codes."""
    left = iter(codes)

    def change(image):
        image.set_sform(image.affine, next(left))
        image.set_qform(None, 0)
        return image

    return change


@pytest.mark.parametrize(
    "change",
    [
        coded([0, 0, 0]),
        lambda image: nibabel.Nifti1Image(image.get_fdata(), np.diag([6.8] * 3 + [1])),
    ],
    ids=["no code", "no heart's affine"],
)
def test_planes_of_unknown_coordinates_are_corrected_each_on_its_own(tmp_path, change):
    write_planes(tmp_path / "dicom")
    save_planes(tmp_path / "nifti", tmp_path / "dicom", change)
    (got,) = Corrector(ByColumn()).map([tmp_path / "nifti" / "*"])
    assert got.partners == ((), (), ())


def test_counts_prove_coordinates_that_codes_name_differently(tmp_path):
    write_planes(tmp_path / "dicom")
    save_planes(tmp_path / "nifti", tmp_path / "dicom", coded([1, 2, 3]))
    (got,) = Corrector(ByColumn()).map([tmp_path / "nifti" / "*"])
    assert [set(others) for others in got.partners] == [{1, 2}, {0, 2}, {0, 1}]


@pytest.mark.parametrize(("upwards", "word"), [(False, "downwards"), (True, "upwards")])
def test_an_affine_that_is_no_hearts_is_told(tmp_path, rng, caplog, upwards, word):
    counts = heart(rng, (21, 30, 32))
    stored = counts.transpose(2, 1, 0)[:, ::-1] if upwards else counts.transpose(2, 1, 0)
    nibabel.save(
        nibabel.Nifti1Image(stored, np.diag([-6.8 if upwards else 6.8, 6.8, 6.8, 1])), tmp_path / "rest SA.nii"
    )
    (result,) = Corrector(Turned()).map([tmp_path / "rest SA.nii"])
    assert f"run {word}" in caplog.text
    np.testing.assert_array_equal(result.study.series[0].counts, counts)
    assert (result.study.series[0].plane, result.study.series[0].phase) == ("SA", "rest")


def test_whole_counts_with_a_slope_and_other_units(tmp_path, rng):
    write_nc(tmp_path / "in.dcm", heart(rng))
    series = read_series(tmp_path / "in.dcm")
    affine = affine_of(series)
    affine[:3] /= 1000
    image = nibabel.Nifti1Image(series.counts.transpose(2, 1, 0).astype(np.int16), affine)
    image.header.set_xyzt_units("meter")
    image.header.set_slope_inter(2.0, 0.0)
    nibabel.save(image, tmp_path / "x.nii")
    (result,) = Corrector(Times(), told=SA_STRESS).map([tmp_path / "x.nii"])
    (got,) = result.study.series
    np.testing.assert_array_equal(got.counts, nibabel.load(tmp_path / "x.nii").get_fdata().transpose(2, 1, 0))
    np.testing.assert_allclose(got.spacing_mm, (6.8, 6.8, 6.8), rtol=1e-6)
    np.testing.assert_allclose(got.position, series.position, atol=1e-3)
    np.testing.assert_allclose(got.orientation, series.orientation, atol=1e-6)


def test_an_array_needs_its_geometry(tmp_path, rng):
    counts = heart(rng)
    np.save(tmp_path / "stress_SA.npy", counts.astype(np.uint16))
    with pytest.raises(SystemExit):
        cli.main(["correct", "-i", "x", "-o", "y", "--pixel-mm", "-1"])
    (sentence,) = run([tmp_path / "stress_SA.npy"], tmp_path / "out").failed
    assert "holds no geometry, expected --pixel-mm and --slice-mm" in sentence
    assert not (tmp_path / "out").exists()
    report = run([tmp_path / "stress_SA.npy"], tmp_path / "out", Times(1.5), Told(pixel_mm=6.8, slice_mm=6.8))
    after = np.load(report.written[0])
    assert (report.written[0].name, after.dtype) == ("stress_SA_DL-AC.npy", np.float32)
    np.testing.assert_allclose(after, 1.5 * counts, rtol=1e-5, atol=1e-3)


def test_files_that_differ_in_plane_and_phase_are_one_study(tmp_path, rng):
    told = Told(pixel_mm=6.8, slice_mm=6.8)
    for name in ("a_stress_SA", "a_stress_VLA", "a_rest_SA", "b_stress_SA"):
        np.save(tmp_path / f"{name}.npy", heart(rng))
    found = find_studies([tmp_path / "*.npy"], told)
    assert sorted(len(study) for study in found.studies) == [1, 3]
    with pytest.raises(NoInputError):
        find_studies([tmp_path], told)
    report = run([tmp_path / "*.npy"], tmp_path / "out", told=told)
    assert (report.studies, len(report.written)) == (2, 4)
    # Again: nothing to do, and what was corrected is not corrected again.
    again = run([tmp_path / "**" / "*.npy"], tmp_path / "out", told=told)
    assert (len(again.finished), again.written, len(again.skipped)) == (4, [], 4)
    assert "by an earlier run" in again.skipped[0]
    # As it would be in another folder.
    elsewhere = run([tmp_path / "**" / "*.npy"], tmp_path / "elsewhere", told=told)
    assert sum("its name says corrected" in sentence for sentence in elsewhere.skipped) == 4
    assert run([tmp_path / "*.npy"], tmp_path / "out", told=Told(pixel_mm=6.8, slice_mm=6.0)).studies == 2


def test_the_same_bytes_again_and_a_second_file_of_deviations(tmp_path, rng):
    write_nc(tmp_path / "in.dcm", heart(rng))
    nibabel.save(image_of(read_series(tmp_path / "in.dcm")), tmp_path / "x.nii.gz")
    for out in ("a", "b"):
        report = run([tmp_path / "x.nii.gz"], tmp_path / out, "bbdm", uncertainty=2, steps=1, device="cpu")
        assert [path.name for path in report.written] == ["x_DL-AC.nii.gz", "x_DL-AC-SD.nii.gz"]
    for name in ("x_DL-AC.nii.gz", "x_DL-AC-SD.nii.gz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def damaged_files(tmp_path, series):
    whole = image_of(series).to_bytes()
    claims = bytearray(whole)
    claims[42:48] = np.array([32767, 32767, 32767], "<i2").tobytes()
    yield "cut.nii", whole[:-100], "truncated"
    yield "short.nii", whole[:200], "found damage"
    yield "claims.nii", bytes(claims), "truncated"
    yield "text.nii.gz", b"Dear colleague", "found damage"
    yield "torn.nii.gz", gzip.compress(whole)[:200], "found damage"
    yield "bomb.nii.gz", gzip.compress(bytes(80 * 2**20)), "at most 64 MiB"
    gated = nibabel.Nifti1Image(np.ones((8, 8, 8, 8), np.float32), np.diag([6.8, 6.8, 6.8, 1]))
    yield "gated.nii", gated.to_bytes(), "not gated"
    yield "empty.nii", nibabel.Nifti1Image(np.zeros((9, 9, 9), np.float32), affine_of(series)).to_bytes(), "only zeros"
    nowhere = nibabel.Nifti1Image(np.ones((20, 20, 20), np.float32), None)
    yield "nowhere_NC.nii", nowhere.to_bytes(), "the model needs pixels of"
    yield (
        "object.npy",
        b"\x93NUMPY\x01\x00F\x00{'descr': '|O', 'fortran_order': False, 'shape': (3, 4, 4), }".ljust(79) + b"\n",
        "real numbers",
    )
    yield "cut.npy", b"\x93NUMPY\x01\x00", "found damage"
    yield (
        "claims.npy",
        b"\x93NUMPY\x01\x00F\x00{'descr': '<f8', 'fortran_order': False, 'shape': (99999, 999, 999), }".ljust(79)
        + b"\n",
        "truncated",
    )
    nan = series.counts.copy()
    nan[0, 0, 0] = np.nan
    yield "nan.nii", nibabel.Nifti1Image(nan.transpose(2, 1, 0), affine_of(series)).to_bytes(), "found NaN"


def test_what_is_damaged_is_one_sentence(tmp_path, rng, capfd):
    write_nc(tmp_path / "in.dcm", heart(rng))
    told, made = Told("SA", "stress", 6.8, 6.8), 0
    for name, content, words in damaged_files(tmp_path, read_series(tmp_path / "in.dcm")):
        (tmp_path / name).write_bytes(content)
        report = run([tmp_path / name], tmp_path / "out", told=told)
        (sentence,) = report.failed
        assert name in sentence
        assert words in sentence
        assert sentence.isprintable()
        made += 1
    assert made == 13
    assert not (tmp_path / "out").exists()
    assert capfd.readouterr() == ("", "")


def test_the_command(tmp_path, rng, capsys):
    write_nc(tmp_path / "in.dcm", heart(rng))
    nibabel.save(image_of(read_series(tmp_path / "in.dcm")), tmp_path / "x.nii.gz")
    model = tmp_path / "same.json"
    model.write_text(json.dumps({"format": 1, "model": "same", "slope": 1, "offset": 0, "gain": 1, "pixel_mm": 6.8}))
    words = ["correct", "-i", str(tmp_path / "x.nii.gz"), "-o", str(tmp_path / "out"), "-m", str(model)]
    assert cli.main(words) == 1
    assert "expected SA, VLA or HLA in its name or from --plane" in capsys.readouterr().err
    assert cli.main([*words, "--plane", "SA"]) == 1
    assert "expected stress or rest in its name or from --phase" in capsys.readouterr().err
    assert cli.main([*words, "--plane", "SA", "--phase", "stress"]) == 0
    assert "29 slices in 1 series" in capsys.readouterr().out
    after, before = (nibabel.load(tmp_path / name).get_fdata() for name in ("out/x_DL-AC.nii.gz", "x.nii.gz"))
    np.testing.assert_allclose(after, before, rtol=1e-5)


def test_info_says_what_they_hold(tmp_path, rng, capsys):
    write_nc(tmp_path / "stress_SA.dcm", heart(rng), pixel_mm=(6.4, 6.8), slice_mm=6.5)
    series = read_series(tmp_path / "stress_SA.dcm")
    nibabel.save(image_of(series), tmp_path / "stress_SA.nii.gz")
    np.save(tmp_path / "rest_VLA_AC.npy", series.counts - series.counts.max() / 8)

    def info(name, *words):
        status = cli.main(["info", str(tmp_path / name), *words])
        out, err = capsys.readouterr()
        return status, out.replace(name, "").strip(), err

    status, as_dicom, _ = info("stress_SA.dcm")
    as_nifti = info("stress_SA.nii.gz")[1]
    assert (status, as_dicom.splitlines()[0]) == (0, as_nifti.splitlines()[0])
    assert "evidence: its Series Description says IRNC" in as_dicom
    assert "NC stress SA, 29 slices of 64 x 64, pixels 6.4 x 6.8 mm, slices 6.5 mm apart, counts " in as_dicom
    assert "NC rest HLA" in info("stress_SA.nii.gz", "--plane", "HLA", "--phase", "rest")[1]
    status, out, err = info("rest_VLA_AC.npy")
    assert (status, out) == (1, "")
    assert "holds no geometry, expected --pixel-mm and --slice-mm" in err
    status, out, _ = info("rest_VLA_AC.npy", "--pixel-mm", "6.8", "--slice-mm", "7")
    assert status == 0
    assert ": AC rest VLA, 29 slices of 64 x 64, pixels 6.8 x 6.8 mm, slices 7 mm apart, counts 0 to " in out
    assert "% of the values lie below zero" in out


def test_without_nibabel(tmp_path, monkeypatch):
    (tmp_path / "x.nii").write_bytes(bytes(400))
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(SetupError, match="pip install"):
        find_studies([tmp_path / "x.nii"], SA_STRESS)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_mutants_are_read_or_refused_in_one_sentence(tmp_path, rng, capfd):
    write_nc(tmp_path / "in.dcm", heart(rng, (10, 24, 24)))
    image = image_of(read_series(tmp_path / "in.dcm"), np.int16)
    packed = BytesIO()
    np.save(packed, read_series(tmp_path / "in.dcm").counts)
    whole = {"m.nii": image.to_bytes(), "m.nii.gz": gzip.compress(image.to_bytes()), "m.npy": packed.getvalue()}
    outcomes = {True: 0, False: 0}
    for _ in range(300):
        name = str(rng.choice(list(whole)))
        bad = bytearray(whole[name])
        for at in rng.integers(0, min(len(bad), 400), rng.integers(1, 12)):
            bad[at] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        if rng.random() < 0.2:
            del bad[rng.integers(len(bad)) :]
        path = tmp_path / name
        try:
            glance(path, bytes(bad))
            series = read_volume(path, bytes(bad), Told("SA", "stress", 6.8, 6.8))
            check_geometry(series, 6.8)
            series.form.encode(series.counts, "note")
        except InputError as reason:
            sentence = str(reason)
        else:
            sentence = ""
        assert not sentence or (str(path) in sentence and sentence.isprintable())
        outcomes[not sentence] += 1
    assert min(outcomes.values()) > 20, outcomes
    assert capfd.readouterr() == ("", "")
