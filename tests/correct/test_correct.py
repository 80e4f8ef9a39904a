"""The pipeline with translators whose answer is known: every series comes out in its place, except the bad ones."""

import logging

import numpy as np
import pydicom
import pytest
import torch
from fake_study import Times, edit, heart, write_nc, write_study

from spectac_fast import Corrector, read_study
from spectac_fast.correct import correct_files, correct_study, slice_seeds
from spectac_fast.data.scale import count_scale
from spectac_fast.errors import InputError, NoInputError, SetupError, SpectacError
from spectac_fast.formats.dicom import read_series


def outputs(out):
    """Every file but the manifest, so that temporary ones are seen too."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and path.suffix != ".jsonl")
    return {str(path.relative_to(out)): path for path in files}


@pytest.mark.parametrize("geometry", [{}, {"pixel_mm": 4.8}, {"pixel_mm": (9.1, 6.4), "slice_mm": -6.4}])
def test_identity_gives_back_the_same_counts(tmp_path, rng, geometry):
    written = write_study(tmp_path / "in", rng, **geometry)
    report = correct_files([tmp_path / "in"], tmp_path / "out", Times())
    assert (len(report.written), report.studies, report.slices) == (6, 1, 174)
    assert (report.failed, report.skipped) == ([], [])
    for name, counts in written.items():
        path = tmp_path / "out" / name.replace(".dcm", "_DL-AC.dcm")
        assert read_series(path).attenuation_corrected
        np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, counts)


@pytest.mark.parametrize(("model", "said"), [("identity", 1), ("linear", 1), ("bbdm", 0)])
def test_a_row_of_the_table_is_no_correction_and_that_is_said(tmp_path, rng, caplog, model, said):
    write_nc(tmp_path / "SA.dcm", heart(rng))
    assert len(list(Corrector(model).map([tmp_path]))) == 1
    assert caplog.text.count(f"the model {model} multiplies counts and corrects no attenuation") == said


def test_gain_is_applied_once(tmp_path, rng):
    counts = heart(rng)
    write_nc(tmp_path / "SA.dcm", counts)
    study = read_study(tmp_path)
    (ac,) = correct_study(study, Times(factor=2.5, gain=2.5))
    np.testing.assert_allclose(ac, 2.5 * counts, rtol=1e-5, atol=1e-3)


def test_one_scale_per_phase_from_the_short_axis(tmp_path, rng):
    stacks = {}
    for phase, level in (("stress", 400), ("rest", 1600)):
        base = heart(rng, peak=level)
        for plane, factor in (("SA", 1), ("VLA", 0.95), ("HLA", 1.05)):
            counts = stacks[phase, plane] = np.rint(base * factor)
            write_nc(tmp_path / f"{phase}_{plane}.dcm", counts, plane=plane, phase=phase)
    seen = {}

    class Watch(Times):
        def translate(self, nc, seeds=None, neighbours=None, **options):
            for image, seed in zip(nc, seeds.tolist()):
                seen.setdefault(seed, []).append(image[0].numpy())
            return nc

    study = read_study(tmp_path)
    correct_study(study, Watch(), seed=3)
    for series in study.series:
        scale = count_scale(stacks[series.phase, "SA"], (6.8, 6.8, 6.8))
        (seed,) = set(slice_seeds(3, series.uid, 29).tolist())
        for image, counts in zip(seen[seed], series.counts, strict=True):
            np.testing.assert_allclose(image, 2 * counts / scale - 1, rtol=1e-5, atol=1e-5)


def test_without_short_axis_the_plane_at_hand_gives_the_scale(tmp_path, rng):
    counts = heart(rng)
    write_nc(tmp_path / "VLA.dcm", counts, plane="VLA")
    seen = []

    class Watch(Times):
        def translate(self, nc, seeds=None, neighbours=None, **options):
            seen.append(nc[:, 0].numpy())
            return nc

    correct_study(read_study(tmp_path), Watch())
    scale = count_scale(counts, (6.8, 6.8, 6.8))
    np.testing.assert_allclose(np.concatenate(seen), 2 * counts / scale - 1, rtol=1e-5, atol=1e-5)


def test_model_sees_its_own_pixel_size_and_the_options(tmp_path, rng):
    write_nc(tmp_path / "SA.dcm", heart(rng), pixel_mm=4.8)
    model = Times()
    correct_study(read_study(tmp_path), model, steps=4, batch_size=16)
    assert [shape for shape, _, _ in model.calls] == [(16, 1, 46, 46), (13, 1, 46, 46)]
    assert all(options == {"steps": 4} for _, _, options in model.calls)


def test_all_slices_of_a_study_share_batches(tmp_path, rng):
    write_study(tmp_path, rng)
    model = Times()
    correct_study(read_study(tmp_path), model, batch_size=100)
    assert [shape[0] for shape, _, _ in model.calls] == [100, 74]


def test_seeds_are_known_stable_and_one_for_a_series():
    # printf 0/1.2.3 | b2sum -l 64, read as a little-endian signed integer.
    known = int.from_bytes(bytes.fromhex("ea426ce846fbe365"), "little", signed=True)
    assert slice_seeds(0, "1.2.3", 2).tolist() == [known, known]
    seeds = np.concatenate([slice_seeds(s, uid, 90) for s in (-1, 0, 1) for uid in ("1.2", "1.23", "1.2.3")])
    assert len(seeds) == 810
    assert len(set(seeds.tolist())) == 9
    np.testing.assert_array_equal(slice_seeds(5, "1.2", 90)[:10], slice_seeds(5, "1.2", 10))


def test_a_model_that_gives_nan_is_refused(tmp_path, rng):
    class Broken(Times):
        def translate(self, nc, seeds=None, neighbours=None, **options):
            return torch.full_like(nc, torch.nan)

    write_nc(tmp_path / "SA.dcm", heart(rng))
    with pytest.raises(SpectacError, match="not finite"):
        correct_study(read_study(tmp_path), Broken())
    report = correct_files([tmp_path], tmp_path / "out", Broken())
    assert (len(report.failed), report.written) == (1, [])
    assert not (tmp_path / "out").exists()


def test_heart_region_without_counts_is_one_sentence(tmp_path):
    counts = np.zeros((29, 64, 64))
    counts[0, 0, 0] = 5
    write_nc(tmp_path / "SA.dcm", counts)
    with pytest.raises(InputError, match=r"SA\.dcm.*percentile"):
        correct_study(read_study(tmp_path), Times())


def test_rerun_is_byte_identical_and_settings_give_other_identities(tmp_path, rng):
    write_study(tmp_path / "in", rng)
    contents = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        correct_files([tmp_path / "in"], tmp_path / name, Times(1.5), seed=seed)
        contents.append({key: path.read_bytes() for key, path in outputs(tmp_path / name).items()})
    assert contents[0] == contents[1]
    for key in contents[0]:
        a, c = (pydicom.dcmread(tmp_path / name / key).SOPInstanceUID for name in "ac")
        assert a != c


def test_bad_studies_never_stop_the_others(tmp_path, rng):
    for case in ("case-1", "case-2", "case-3"):
        write_study(tmp_path / "in" / case, rng, study_key=case)
    (tmp_path / "in" / "case-1" / "rest_SA_NC.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"rubbish" * 100)
    edit(tmp_path / "in" / "case-2" / "stress_SA_NC.dcm", lambda ds: setattr(ds, "PixelSpacing", [20, 20]))
    write_nc(tmp_path / "in" / "case-3" / "ac.dcm", heart(rng), corrected=True, study_key="case-3")
    report = correct_files([tmp_path / "in"], tmp_path / "out", Times())
    assert len(report.written) == len(outputs(tmp_path / "out")) == 16
    assert sorted("case-1" in text for text in report.failed) == [False, True]
    assert any("case-2/stress_SA_NC.dcm" in text and "20 x 20 mm" in text for text in report.failed)
    assert len(report.skipped) == 1
    assert "ac.dcm" in report.skipped[0]
    assert not any(name.split("/")[-1].startswith(".") for name in outputs(tmp_path / "out"))


def test_named_files_are_refused_where_found_ones_are_skipped(tmp_path, rng):
    write_nc(tmp_path / "NC.dcm", heart(rng))
    write_nc(tmp_path / "AC.dcm", heart(rng), corrected=True)
    report = correct_files([tmp_path, tmp_path / "AC.dcm", tmp_path / "NC.dcm"], tmp_path / "out", Times())
    assert list(outputs(tmp_path / "out")) == ["NC_DL-AC.dcm"]
    assert len(report.failed) == 1
    assert report.skipped == []


def test_several_inputs_keep_apart(tmp_path, rng):
    for case in ("a", "b"):
        write_study(tmp_path / "in" / case, rng, planes=("SA",), study_key=case)
    correct_files([tmp_path / "in" / "a", tmp_path / "in" / "b" / "rest_SA_NC.dcm"], tmp_path / "out", Times())
    names = {"a/stress_SA_NC_DL-AC.dcm", "a/rest_SA_NC_DL-AC.dcm", "b/rest_SA_NC_DL-AC.dcm"}
    assert set(outputs(tmp_path / "out")) == names


def test_two_inputs_never_share_an_output(tmp_path, rng):
    write_nc(tmp_path / "in" / "a.dcm", heart(rng))
    write_nc(tmp_path / "in" / "a", heart(rng), plane="VLA")
    report = correct_files([tmp_path / "in"], tmp_path / "out", Times())
    assert len(report.written) == len(report.failed) == 1
    assert "taken" in report.failed[0]


def test_correcting_into_the_source_folder_twice_adds_nothing(tmp_path, rng):
    write_study(tmp_path, rng)
    correct_files([tmp_path], tmp_path, Times())
    report = correct_files([tmp_path], tmp_path, Times())
    assert (len(outputs(tmp_path)), len(report.skipped)) == (12, 6)


def test_nothing_to_correct(tmp_path, rng):
    with pytest.raises(NoInputError):
        correct_files([tmp_path], tmp_path / "out", Times())
    with pytest.raises(NoInputError):
        correct_files([tmp_path / "absent"], tmp_path / "out", Times())
    write_nc(tmp_path / "in" / "ac.dcm", heart(rng), corrected=True)
    with pytest.raises(NoInputError, match="1 DICOM file"):
        correct_files([tmp_path / "in"], tmp_path / "out", Times())
    assert not (tmp_path / "out").exists()


def test_output_that_is_a_file_is_refused_before_any_work(tmp_path, rng):
    write_nc(tmp_path / "SA.dcm", heart(rng))
    model = Times()
    with pytest.raises(SetupError, match="not a folder"):
        correct_files([tmp_path / "SA.dcm"], tmp_path / "SA.dcm" / "out", model)
    assert model.calls == []


def test_unusual_geometry_is_said_and_corrected(tmp_path, rng, caplog):
    write_nc(tmp_path / "SA.dcm", heart(rng)[:6], slice_mm=-15.0)
    with caplog.at_level(logging.WARNING, "spectac_fast"):
        report = correct_files([tmp_path / "SA.dcm"], tmp_path / "out", Times())
    assert len(report.written) == 1
    assert "found 15 mm" in caplog.text
    assert "found 6" in caplog.text
    assert "SECRET" not in caplog.text
