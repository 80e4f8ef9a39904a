"""`spectac correct --uncertainty`: the standard deviation on its way to a series of its own."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pydicom
import pytest
import torch
from fake_population import expected_error
from fake_study import Times, heart, write_nc, write_planes

from spectac_fast.cli import main
from spectac_fast.commands import _flags
from spectac_fast.correct import Corrector, Report, carry_out, correct_study, correct_study_with_std
from spectac_fast.correct.engines import cluster
from spectac_fast.correct.study import prepare
from spectac_fast.data.geometry.resample import InPlane
from spectac_fast.data.scale import count_scale
from spectac_fast.data.study import read_study
from spectac_fast.errors import UsageError
from spectac_fast.formats.dicom.derivation import derivation_of
from spectac_fast.formats.series import Told
from spectac_fast.models import uncertainty
from spectac_fast.models.names import NAMED
from spectac_fast.models.uncertainty import Calibration


class Spread(Times):
    """Multiplies by one; its samples lie 0.1 of the counts, in model units, about that."""

    calibration = Calibration(2.0, 0.0, measured=True)

    def moments(self, nc, seeds=None, *, samples, neighbours=None, **options):
        return self.translate(nc, seeds), 0.1 * (nc + 1)

    def single_sample(self, **options):
        return False


def files(out):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.rglob("*.dcm"))}


def run(corrector, source, out):
    report = Report()
    carry_out(corrector, corrector.plan([source], out), report)
    return report


@pytest.mark.parametrize(("pixel_mm", "rtol"), [(6.8, 1e-4), (4.8, 0.05)])
def test_the_deviation_is_carried_to_the_sources_counts(tmp_path, rng, pixel_mm, rtol):
    write_nc(tmp_path / "SA.dcm", heart(rng, (12, 48, 48)), pixel_mm=pixel_mm)
    (result,) = Corrector(Spread(gain=1.7), batch_size=4, uncertainty=4).map([tmp_path])
    ((series,), (std,)) = result.study.series, result.uncertainty
    # 0.2 of NC in the model's units, whose counts are `gain` times as many. Detail counts less where there is little.
    seen = series.counts > 0.3 * series.counts.max()
    np.testing.assert_allclose(std[seen], 0.2 * 1.7 * series.counts[seen], rtol=rtol)
    (plain,) = Corrector(Spread(gain=1.7), batch_size=4).map([tmp_path])
    assert plain.uncertainty == ()
    np.testing.assert_array_equal(plain.counts[0], result.counts[0])


def test_one_study_in_memory_gives_what_a_run_gives(tmp_path, rng):
    write_planes(tmp_path)
    study, model = read_study(tmp_path), Spread(gain=1.5)
    counts, stds = correct_study_with_std(study, model, std_samples=4, batch_size=8)
    (result,) = Corrector(model, batch_size=8, uncertainty=4).map([tmp_path])
    for own, expected in zip((*counts, *stds), (*result.counts, *result.uncertainty), strict=True):
        np.testing.assert_array_equal(own, expected)
    for own, expected in zip(counts, correct_study(study, model), strict=True):
        np.testing.assert_array_equal(own, expected)
    with pytest.raises(UsageError, match="times gives one image without a spread"):
        correct_study_with_std(study, Times())
    with pytest.raises(UsageError, match="at least 2 samples, found 1"):
        correct_study_with_std(study, model, std_samples=1)


def test_no_deviation_carried_back_is_below_that_of_the_result(rng):
    """Random errors in the model's pixels, carried back one by one, against the bound."""
    nc = heart(rng, (2, 40, 40))
    grid = InPlane(nc.shape[1:], (4.1, 5.3), 6.8)
    nc_model, scale = grid.to_model(nc), count_scale(nc, (6.8, 4.1, 5.3))
    std = rng.uniform(5.0, 40.0, nc_model.shape).astype(np.float32)
    ac = nc_model + 500.0
    drawn = [
        grid.carry_back(
            nc, nc_model, ac + std * rng.standard_normal(std.shape).astype(np.float32), scale=scale, gain=1.0
        )
        for _ in range(400)
    ]
    bound = grid.carry_back_deviation(nc, nc_model, std, scale=scale)
    # 400 draws know a deviation within 3.5 %; 5 of those are allowed over 3200 pixels.
    assert (np.std(drawn, axis=0, ddof=1) <= 1.18 * bound).all()
    shift = grid.carry_back(nc, nc_model, ac + std, scale=scale, gain=1.0) - grid.carry_back(
        nc, nc_model, ac, scale=scale, gain=1.0
    )
    np.testing.assert_allclose(np.abs(shift), bound, rtol=1e-3, atol=0.05)


def test_the_deviation_of_a_mean_of_planes_is_that_of_errors_that_go_together(tmp_path, rng):
    """Errors of one deviation each, of one sign: what they change in the result, against what is announced."""
    write_planes(tmp_path, of_plane={"VLA": {"shape": (23, 48, 52), "pixel_mm": (8.0, 7.4)}})
    model = Times(gain=1.5)
    study = prepare(read_study(tmp_path), model, {}, 0)
    assert all(len(others) == 2 for others in study.partners)
    errors = [rng.uniform(0.02, 0.1, x.shape).astype(np.float32) for x in study.inputs]
    off = study.finish([x + error for x, error in zip(study.inputs, errors)], model)
    announced = study.finish_deviations(errors, [1.0] * len(errors), model)
    for before, after, std in zip(study.finish(study.inputs, model), off, announced):
        np.testing.assert_allclose(np.abs(after - before), std, rtol=2e-3, atol=2e-3 * float(before.max()))
        assert std.max() > 0.02 * before.max()


def test_a_second_series_beside_an_unchanged_one(tmp_path, rng):
    for phase in ("stress", "rest"):
        write_nc(tmp_path / "in" / f"{phase}.dcm", heart(rng, (6, 32, 32)), phase=phase)
    settings = {"model": Spread(), "batch_size": 8, "seed": 5}
    run(Corrector(**settings), tmp_path / "in", tmp_path / "plain")
    report = run(Corrector(**settings, uncertainty=2), tmp_path / "in", tmp_path / "both")
    plain, both = files(tmp_path / "plain"), files(tmp_path / "both")
    assert sorted(both.keys() - plain.keys()) == ["rest_DL-AC-SD.dcm", "stress_DL-AC-SD.dcm"]
    assert plain.items() <= both.items()
    assert (report.series, report.slices, len(report.written)) == (2, 12, 4)

    # Again: nothing to do. One file gone: it comes again with the same bytes.
    corrector = Corrector(**settings, uncertainty=2)
    assert len(run(corrector, tmp_path / "in", tmp_path / "both").finished) == 4
    (tmp_path / "both" / "rest_DL-AC-SD.dcm").unlink()
    run(corrector, tmp_path / "in", tmp_path / "both")
    assert files(tmp_path / "both") == both
    # Asked for later, into the folder of a run without: the deviations come, the rest stays.
    run(corrector, tmp_path / "in", tmp_path / "plain")
    assert files(tmp_path / "plain") == both

    headers = {name: pydicom.dcmread(tmp_path / "both" / name) for name in both}
    assert (
        len({ds.SOPInstanceUID for ds in headers.values()})
        == len({ds.SeriesInstanceUID for ds in headers.values()})
        == 4
    )
    assert "deviation of samples 2" in headers["rest_DL-AC-SD.dcm"].DerivationDescription
    assert "deviation" not in headers["rest_DL-AC.dcm"].DerivationDescription


def test_another_calibration_makes_another_object_of_the_deviations_alone(tmp_path, rng):
    write_nc(tmp_path / "in" / "SA.dcm", heart(rng, (4, 32, 32)))
    uids = []
    for temperature in (2.0, 3.0):
        model = Spread()
        model.calibration = Calibration(temperature, 0.0, measured=True)
        run(Corrector(model, batch_size=4, uncertainty=4), tmp_path / "in", tmp_path / f"{temperature}")
        uids.append([pydicom.dcmread(p).SOPInstanceUID for p in sorted((tmp_path / f"{temperature}").glob("*.dcm"))])
    (deviation, corrected), others = uids
    assert (deviation == others[0], corrected == others[1]) == (False, True)


def test_deviations_widen_with_the_error_that_is_expected_of_the_study(tmp_path):
    """Of every plane that is averaged with the short axis alike, and files say by how much."""
    write_planes(tmp_path / "in")
    found = {}
    for exponent in (0.0, 0.5):
        model = Spread(gain=1.5)
        model.calibration = Calibration(2.0, 0.0, exponent, 0.01, measured=True)
        model.expected_error = expected_error().process
        (result,) = Corrector(model, batch_size=8, uncertainty=4).map([tmp_path / "in"])
        run(Corrector(model, batch_size=8, uncertainty=4), tmp_path / "in", tmp_path / f"{exponent}")
        said = {
            path.name: pydicom.dcmread(path).DerivationDescription
            for path in sorted((tmp_path / f"{exponent}").glob("*-SD.dcm"))
        }
        found[exponent] = result, said
    (plain, silent), (wide, said) = found.values()
    assert len(wide.uncertainty) == len(said) == 3
    assert set(plain.widening) == {1.0}
    (factor,) = set(wide.widening)
    assert factor > 1.5
    for narrow, broad in zip(plain.uncertainty, wide.uncertainty, strict=True):
        np.testing.assert_allclose(broad, factor * narrow, rtol=1e-5)
    for one, other in zip(plain.counts, wide.counts, strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(f"usual error 0.01, widened {factor:g}" in text and "exponent 0.5" in text for text in said.values())
    assert not any("widened" in text or "exponent" in text for text in silent.values())
    counts, deviations = correct_study_with_std(read_study(tmp_path / "in"), model, std_samples=4, batch_size=8)
    for own, expected in zip((*counts, *deviations), (*wide.counts, *wide.uncertainty), strict=True):
        np.testing.assert_array_equal(own, expected)


def test_what_an_actor_gives_back_is_written_as_a_run_writes_it(tmp_path):
    """Of an actor's study another process writes the files; what widened the deviations must come along."""
    write_planes(tmp_path / "in")
    model = Spread(gain=1.5)
    model.calibration = Calibration(2.0, 0.0, 0.5, 0.01, measured=True)
    model.expected_error = expected_error().process
    settings = {"model": model, "batch_size": 8, "uncertainty": 4}
    run(Corrector(**settings), tmp_path / "in", tmp_path / "local")
    plan = Corrector(**settings).plan([tmp_path / "in"], tmp_path / "actor")
    (study,) = plan.studies
    cluster._written(plan, study, cluster.Worker(settings).correct(study, plan.root))
    assert len(files(tmp_path / "local")) == 6
    assert files(tmp_path / "actor") == files(tmp_path / "local")


def test_all_that_is_said_of_how_an_image_was_made_can_be_read_again(tmp_path, rng):
    write_nc(tmp_path / "in" / "SA.dcm", heart(rng, (12, 64, 64)))
    corrector = Corrector("bbdm", batch_size=16, uncertainty=2, told=Told(keep_scatter=True, sharper=True))
    run(corrector, tmp_path / "in", tmp_path / "out")
    for path in sorted((tmp_path / "out").glob("*.dcm")):
        header = pydicom.dcmread(path)
        assert "resolution recovered, scatter kept" in header.DerivationDescription
        # Only what is recognised whole is repeated; all else is called unknown.
        assert derivation_of(header, NAMED) == header.DerivationDescription
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 2


def test_deviations_that_are_not_finite_fail_the_study(tmp_path, rng):
    class Broken(Spread):
        def moments(self, nc, seeds=None, **options):
            return nc, torch.full_like(nc, torch.nan)

    write_nc(tmp_path / "SA.dcm", heart(rng, (4, 32, 32)))
    (result,) = Corrector(Broken(), batch_size=4, uncertainty=2).map([tmp_path])
    assert result.counts == result.uncertainty == ()
    assert "deviations that are not finite" in result.failed[0]


def test_who_cannot_is_told_so(caplog):
    with pytest.raises(UsageError, match="times gives one image without a spread"):
        Corrector(Times(), uncertainty=4)
    with pytest.raises(UsageError, match="at least 2 samples, found 1"):
        Corrector(Spread(), uncertainty=1)
    model = Spread()
    model.calibration = Calibration()
    Corrector(model, uncertainty=4)
    assert "times have no calibration" in caplog.text


def test_the_command(tmp_path, rng, capsys):
    write_nc(tmp_path / "in" / "SA.dcm", heart(rng, (3, 64, 64)))
    words = [
        "correct",
        "-i",
        str(tmp_path / "in"),
        "-d",
        "cpu",
        "--uncertainty",
        "2",
        "--report",
        str(tmp_path / "r.json"),
    ]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    assert "corrected 3 slices in 1 series of 1 study" in capsys.readouterr().out
    assert list(files(tmp_path / "out")) == ["SA_DL-AC-SD.dcm", "SA_DL-AC.dcm"]
    assert json.loads((tmp_path / "r.json").read_text())["settings"]["deviation of samples"] == 2
    assert main([*words, "-o", str(tmp_path / "no"), "-m", "linear"]) == 2
    assert "linear gives one image" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    assert _flags.STD_SAMPLES == uncertainty.SAMPLES
