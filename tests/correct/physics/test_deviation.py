"""How far AC by OSEM may be off: the deviations, what they are made of, their files, their place in a report."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import torch
from fake_map_model import write_constant_maps, write_noisy_bridge
from fake_patient import AXES, WATER, acquired, body, ct_of, ventricle, views_of, write_ct, write_patient
from fake_study import Times
from places import SHARED

import spectac_fast as sf
from spectac_fast.cli import main
from spectac_fast.correct.physics.deviation import Spread, expected_counts, samples
from spectac_fast.correct.physics.wanted import Wanted
from spectac_fast.errors import InputError, SetupError, UsageError
from spectac_fast.evaluate.report import gather, page
from spectac_fast.evaluate.report.analysis import analyse
from spectac_fast.formats.dicom import read_series
from spectac_fast.formats.dicom.derivation import deviates, reconstruction_of
from spectac_fast.models import names
from spectac_fast.models.mumap_bridge import load_map_bridge
from spectac_fast.reconstruct.post_filter import low_pass
from spectac_fast.reconstruct.settings import usual

AXIS = (45.0, 25.0, *map(float, AXES.centre))
HOW = usual(24)
MU = WATER * body()
SAMPLE = SHARED / "samples" / "ge_tomo_projections_stress.dcm"
WALL = ventricle() > 0.5


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_patient(tmp_path_factory.mktemp("tomo") / "tomo.dcm", np.random.default_rng(3))


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    return write_ct(tmp_path_factory.mktemp("map") / "ct", ct_of(MU))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    soft = write_constant_maps(folder / "soft.safetensors", 0.12)
    return soft, write_noisy_bridge(folder / "bridge.safetensors", temperature=10.0, floor=0.1)


def spread_of(volumes):
    found = Spread()
    for volume in volumes:
        found.add(volume)
    return found.deviation


def test_a_spread_is_the_standard_deviation():
    values = 100 + torch.randn(7, 3, 4)
    torch.testing.assert_close(spread_of(values), values.std(0), rtol=1e-4, atol=1e-6)


def test_photons_of_one_acquisition_tell_how_others_differ():
    """The deviation that is drawn from one acquisition's AC, against that of acquisitions of the true activity."""
    truth = views_of(400.0 * (ventricle() + 0.1 * body()), MU)
    real = list(samples(acquired(truth), HOW, MU.expand(24, *MU.shape), expected=truth, seed=1))
    camera = acquired(torch.from_numpy(np.random.default_rng(9).poisson(truth.numpy()).astype(np.float32)))
    ac = low_pass(camera.volume(HOW, mu=MU), 6.8, HOW.filter)
    expected = expected_counts(camera, HOW, ac, MU, None)
    assert float(expected.sum()) == pytest.approx(float(camera.counts.sum()), rel=0.02)
    drawn = spread_of(samples(camera, HOW, MU.expand(24, *MU.shape), expected=expected, seed=2))
    assert float(drawn[WALL].mean()) == pytest.approx(float(spread_of(real)[WALL].mean()), rel=0.2)
    # A quarter of the counts, half of the relative accuracy.
    few = replace(camera, counts=camera.counts / 4)
    fewer = spread_of(samples(few, HOW, MU.expand(12, *MU.shape), expected=expected / 4, seed=2))
    assert float(fewer[WALL].mean()) == pytest.approx(0.5 * float(drawn[WALL].mean()), rel=0.2)


def test_maps_move_counts_as_far_as_osem_by_each_of_them():
    truth = views_of(400.0 * (ventricle() + 0.1 * body()), MU)
    maps = torch.stack([0.9 * MU, 1.1 * MU])
    found = list(samples(acquired(truth), HOW, maps))
    low, high = (low_pass(acquired(truth).volume(HOW, mu=mu), 6.8, HOW.filter) for mu in maps)
    torch.testing.assert_close(spread_of(found), (high - low).abs() / 2**0.5, rtol=1e-3, atol=1e-2)
    assert float(high[WALL].mean()) > 1.1 * float(low[WALL].mean())


def test_a_measured_map_is_taken_to_be_right(file, ct):
    plain = sf.reconstruct(file, ac=ct, axis=AXIS)
    made = sf.reconstruct(file, ac=ct, axis=AXIS, uncertainty=4, seed=3)
    assert plain.deviation is None
    assert torch.equal(made.volumes["AC"], plain.volumes["AC"])
    assert any("of photons alone" in note for note in made.notes)
    share = float((made.deviation / made.volumes["AC"])[WALL].mean())
    assert 0.01 < share < 0.2
    kinds = [(stack.kind, stack.plane) for stack in made.stacks]
    assert kinds[8:] == [("AC-SD", plane) for plane in ("SA", "VLA", "HLA", "TRA")]
    assert made.stacks[8].deviation == "4 samples of photons"
    np.testing.assert_array_equal(made.stacks[-1].counts, made.deviation)
    assert torch.equal(sf.reconstruct(file, ac=ct, axis=AXIS, uncertainty=4, seed=3).deviation, made.deviation)
    other = sf.reconstruct(file, ac=ct, axis=AXIS, uncertainty=4, seed=4)
    assert not torch.equal(other.deviation, made.deviation)


def test_a_predicted_map_is_doubted_by_what_its_weights_are_calibrated_to(file, weights, tmp_path):
    soft, bridge = weights
    wanted = {"ac": "predicted", "maps": soft, "axis": AXIS, "planes": ("SA",), "uncertainty": 3}
    made = sf.reconstruct(file, bridge=bridge, **wanted)
    photons, by_maps = (
        sf.reconstruct(file, bridge=write_noisy_bridge(tmp_path / f"{k}.safetensors", each), **wanted)
        for k, each in enumerate((1e-6, 10.0))
    )
    assert float(by_maps.deviation[WALL].mean()) > 1.5 * float(photons.deviation[WALL].mean())
    # The floor is a share of counts beside them.
    together = torch.hypot(by_maps.deviation, 0.1 * by_maps.volumes["AC"])
    torch.testing.assert_close(made.deviation, together, rtol=1e-3, atol=1e-2)
    digest = load_map_bridge(bridge, "cpu").weights_sha256
    assert made.stacks[2].deviation == (
        f"3 samples of photons and map, maps by mumap-bridge, weights {digest[:12]}, temperature 10.00, floor 0.100"
    )
    assert "calibrated" not in " ".join(made.notes)


def test_weights_without_a_calibration_say_so(file, weights, tmp_path, capsys):
    words = ["reconstruct", "-i", file, "-o", tmp_path / "out", "--ac", "predicted", "--maps", weights[0]]
    words += ["--bridge", write_noisy_bridge(tmp_path / "plain.safetensors"), "--uncertainty", "2", "--planes", "TRA"]
    assert main([*map(str, words), "--progress", "off"]) == 0
    assert "its deviations are not calibrated" in capsys.readouterr().err
    said = reconstruction_of(pydicom.dcmread(tmp_path / "out" / "tomo_AC-SD_TRA.dcm"))
    assert "not calibrated" in said
    assert deviates(said)


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.dcm"))}


def test_files_stand_beside_what_they_are_of(file, weights, tmp_path, capsys):
    soft, bridge = weights
    words = ["reconstruct", "-i", file, "--ac", "predicted", "--maps", soft, "--planes", "SA,TRA", "--progress", "off"]
    plain, drawn = tmp_path / "plain", tmp_path / "drawn"
    assert main([*map(str, words), "-o", str(plain)]) == 0
    words += ["--bridge", bridge, "--uncertainty", "2"]
    report = tmp_path / "r.json"
    assert main([*map(str, words), "-o", str(drawn), "--seed", "5", "--report", str(report)]) == 0
    found = files(drawn)
    assert set(found) - set(files(plain)) == {"tomo_AC-SD_SA.dcm", "tomo_AC-SD_TRA.dcm"}
    assert {name: found[name] for name in files(plain)} == files(plain)
    settings = json.loads(report.read_text())["settings"]
    assert (settings["deviation of samples"], settings["seed"], settings["temperature"]) == (2, 5, 10.0)

    ac, sd = (pydicom.dcmread(drawn / f"tomo_{kind}_SA.dcm") for kind in ("AC", "AC-SD"))
    assert deviates(reconstruction_of(sd))
    assert not deviates(reconstruction_of(ac))
    assert sd.SourceImageSequence[0].ReferencedSOPInstanceUID == ac.SOPInstanceUID
    assert sd.FrameOfReferenceUID == ac.FrameOfReferenceUID
    series = read_series(drawn / "tomo_AC-SD_SA.dcm", force=True)
    assert series.attenuation_corrected
    assert (
        0 < float(series.counts.mean()) < 0.5 * float(read_series(drawn / "tomo_AC_SA.dcm", force=True).counts.mean())
    )

    capsys.readouterr()
    assert main([*map(str, words), "-o", str(drawn), "--seed", "5"]) == 0
    assert "finished before" in capsys.readouterr().out
    again = tmp_path / "again"
    assert main([*map(str, words), "-o", str(again), "--seed", "6"]) == 0
    other = files(again)
    assert {name for name in found if found[name] != other[name]} == {"tomo_AC-SD_SA.dcm", "tomo_AC-SD_TRA.dcm"}
    # Nobody takes it for counts.
    assert main(["correct", "-i", str(drawn / "tomo_AC-SD_SA.dcm"), "-o", str(tmp_path / "no")]) == 1


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
def test_objects_are_valid(file, ct, tmp_path, capsys):
    words = ["reconstruct", "-i", file, "-o", tmp_path, "--ac", ct, "--uncertainty", "2", "--progress", "off"]
    assert main([*map(str, words)]) == 0
    for path in tmp_path.glob("*AC-SD*.dcm"):
        done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        assert "Error" not in done.stderr, path.name


@pytest.mark.parametrize("kind", ["physics", "AC"])
def test_a_report_shows_them_in_percent_of_what_they_are_of(kind, file, weights, ct, tmp_path):
    soft, bridge = weights
    way = ("predicted", "--maps", soft, "--bridge", bridge) if kind == "physics" else (ct,)
    words = ["reconstruct", "-i", file, "-o", tmp_path, "--planes", "SA", "--uncertainty", "2", "--ac", *way]
    assert main([*map(str, words), "--progress", "off", f"--axis={','.join(map(str, AXIS))}"]) == 0
    (series,), _ = gather.gather([tmp_path])
    assert {gather.kind_of(one) for one in series} == {"NC", kind, "map SD"}
    study = gather.study_of(series, Times())
    (phase,) = analyse(study)
    text = page.page(study, [phase])
    assert re.search(r'alt="[^"]+, stress, Uncertainty by a map: \d+ slices', text)
    assert "standard deviation, % of maximum" in text
    assert "Standard deviation over 2 samples of photons" in text
    deviation = phase.stacks["map SD"]["SA"]
    assert deviation.counts.mean() < 0.5 * phase.stacks[kind]["SA"].counts.mean()
    phase.peaks = {kind: phase.peaks[kind]}
    assert "Uncertainty by a map" in page.page(study, [phase])


def test_what_does_not_go_together(file, weights, tmp_path, monkeypatch):
    soft, bridge = weights
    for wanted, said in (
        ({"uncertainty": 4}, "expected AC by an attenuation map"),
        ({"uncertainty": 4, "ac": "chang"}, "expected AC by an attenuation map"),
        ({"uncertainty": 1, "ac": "predicted"}, "at least 2 samples, found 1"),
        ({"bridge": bridge, "ac": "predicted"}, "expected ac to be predicted and uncertainty"),
    ):
        with pytest.raises(UsageError, match=said):
            Wanted(**wanted)
    with pytest.raises(InputError, match="holds a model 'mumap', expected mumap-bridge"):
        sf.reconstruct(file, ac="predicted", maps=soft, bridge=soft, uncertainty=2)
    monkeypatch.setattr(names, "FOLDER", tmp_path)
    with pytest.raises(SetupError, match="weights of mumap-bridge are not installed"):
        sf.reconstruct(file, ac="predicted", maps=soft, uncertainty=2)


@pytest.mark.skipif(not SAMPLE.is_file(), reason="needs ../shared/samples")
@pytest.mark.skipif(
    not (names.FOLDER / names.MAPS["mumap-bridge"]).is_file(), reason="needs the weights of mumap-bridge"
)
def test_a_real_patients_deviation_is_calibrated_and_largest_in_share_where_counts_are_few():
    made = sf.reconstruct(SAMPLE, ac="predicted", planes=("TRA",), uncertainty=2)
    assert "temperature" in made.stacks[2].deviation
    assert "calibrated" not in " ".join(made.notes)
    ac, share = made.volumes["AC"], made.deviation / made.volumes["AC"].clamp_min(1e-6)
    bright, dim = ac > 0.5 * ac.max(), (ac > 0.05 * ac.max()) & (ac < 0.1 * ac.max())
    assert 0.01 < float(share[bright].mean()) < float(share[dim].mean()) < 0.6
