"""AC by a map that a network predicts from NC: what is made, what it says of itself, what is refused."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import torch
from fake_map_model import write_constant_maps
from fake_patient import AXES, acquired, write_patient
from places import SHARED

import spectac_fast as sf
from spectac_fast.cli import main
from spectac_fast.correct.physics.maps import check_sense
from spectac_fast.correct.physics.wanted import Wanted
from spectac_fast.errors import InputError, SetupError, UsageError
from spectac_fast.formats.dicom.tomo.maps import read_map_files
from spectac_fast.models import mumap, names
from spectac_fast.models.names import FOLDER, find
from spectac_fast.reconstruct.camera import Collimator
from spectac_fast.reconstruct.settings import Filter, usual

AXIS = (45.0, 25.0, *map(float, AXES.centre))
SAMPLE = SHARED / "samples" / "ge_tomo_projections_stress.dcm"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_patient(tmp_path_factory.mktemp("tomo") / "tomo.dcm", np.random.default_rng(3))


@pytest.fixture(scope="module")
def soft(tmp_path_factory):
    return write_constant_maps(tmp_path_factory.mktemp("model") / "soft.safetensors", 0.12)


def test_a_map_corrects_by_all_of_it_also_beside_the_field(file, soft):
    made = sf.reconstruct(file, ac="predicted", maps=soft, scatter="none", filter=Filter("none"), axis=AXIS)
    # The field of 272 mm lies in the 435 mm that the network sees.
    assert made.mu.shape == (32, 64, 64)
    np.testing.assert_allclose(made.mu, 0.12, atol=1e-3)
    projections = sf.reconstruct(file, scatter="none", filter=Filter("none"), axis=AXIS)
    assert torch.equal(made.volumes["NC"], projections.volumes["NC"])
    counts = read_counts(file)
    directly = acquired(counts).volume(usual(24), mu=made.mu)
    np.testing.assert_allclose(made.volumes["AC"], directly.clamp_min(0), rtol=1e-4, atol=1e-3)
    narrow = acquired(counts).volume(usual(24), mu=made.mu[:, 12:52, 12:52])
    assert float(directly.sum()) > 1.3 * float(narrow.sum())


def read_counts(file):
    frames = pydicom.dcmread(file).pixel_array.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(frames[:, ::-1].transpose(0, 2, 1)))


def test_the_network_sees_the_usual_reconstruction_whatever_is_asked_for(file, soft, monkeypatch):
    seen = []
    predict = mumap.MapModel.predict

    def watched(model, nc, grid):
        seen.append(nc)
        return predict(model, nc, grid)

    monkeypatch.setattr(mumap.MapModel, "predict", watched)
    usual_nc = sf.reconstruct(file, axis=AXIS).volumes["NC"]
    for settings in ({}, {"filter": Filter("none")}, {"collimator": Collimator()}, {"iterations": 2}):
        sf.reconstruct(file, ac="predicted", maps=soft, axis=AXIS, planes=("SA",), **settings)
        np.testing.assert_allclose(seen[-1], usual_nc, rtol=1e-5, atol=1e-4)


def test_files_say_that_a_map_was_predicted_and_by_what(file, soft, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["reconstruct", "-i", file, "-o", out, "--ac", "predicted", "--maps", soft, "--planes", "SA"]
    assert main([*map(str, command), "--progress", "off"]) == 0
    assert {path.name for path in out.glob("*.dcm")} == {"tomo_NC_SA.dcm", "tomo_AC_SA.dcm", "tomo_MU_TRA.dcm"}
    weights = mumap.load_map_model(soft, "cpu").weights_sha256[:12]
    for name in ("AC_SA", "MU_TRA"):
        said = pydicom.dcmread(out / f"tomo_{name}.dcm").DerivationDescription
        assert f"map predicted from NC by mumap, weights {weights}" in said
    map_path = out / "tomo_MU_TRA.dcm"
    again = read_map_files([(map_path, map_path.read_bytes())])
    assert again.unit == "1/cm"
    np.testing.assert_allclose(again.values, 0.12, atol=1e-3)
    capsys.readouterr()
    # It is a map like any other, and none that anybody would take for counts.
    assert main(["reconstruct", "-i", str(file), "-o", str(tmp_path / "two"), "--ac", str(map_path)]) == 0
    # Nothing is said of the map; the ventricle itself has neither a liver below nor a septum.
    assert "map" not in " ".join(line for line in capsys.readouterr().err.splitlines() if line.startswith("note: "))
    assert main(["correct", "-i", str(map_path), "-o", str(tmp_path / "three")]) == 1
    assert "TRANSMISSION" in capsys.readouterr().err
    # Other weights are another run.
    other = write_constant_maps(tmp_path / "other.safetensors", 0.14)
    command[command.index(soft)] = other
    status = main([*map(str, command), "--progress", "off"])
    assert (status, "finished before" in capsys.readouterr().out) != (0, True)


@pytest.mark.parametrize("mu", [0.01, 0.05, 0.28])
def test_maps_of_no_body_are_refused(file, tmp_path, mu, capsys):
    model = write_constant_maps(tmp_path / "odd.safetensors", mu)
    with pytest.raises(InputError, match=r"expected a predicted attenuation map of 0.08 to 0.2/cm in the body, found"):
        sf.reconstruct(file, ac="predicted", maps=model, axis=AXIS)
    command = ["reconstruct", "-i", file, "-o", tmp_path / "out", "--ac", "predicted", "--maps", model]
    assert main([*map(str, command), "--progress", "off"]) == 1
    assert "failed: " in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.dcm"))


def test_numbers_that_are_none_and_bodies_that_are_none_are_refused(tmp_path):
    mu, body = torch.full((4, 8, 8), 0.15), torch.ones(4, 8, 8, dtype=torch.bool)
    check_sense(mu, body, tmp_path)
    for bad, where in ((mu * torch.nan, body), (mu, ~body)):
        with pytest.raises(InputError, match="expected counts of a body"):
            check_sense(bad, where, tmp_path)


def test_weights_must_be_there_and_be_of_maps(file, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="holds a model 'bbdm', expected mumap"):
        sf.reconstruct(file, ac="predicted", maps=find("bbdm"))
    with pytest.raises(UsageError, match="ac to be predicted"):
        Wanted(ac="chang", maps=tmp_path)
    with pytest.raises(UsageError, match="takes no map"):
        Wanted(ac="predicted", method="FBP")
    monkeypatch.setattr(names, "FOLDER", tmp_path)
    with pytest.raises(SetupError, match="weights of mumap are not installed"):
        sf.reconstruct(file, ac="predicted")


@pytest.mark.skipif(not SAMPLE.is_file(), reason="needs ../shared/samples")
@pytest.mark.skipif(not (FOLDER / "mumap64.safetensors").is_file(), reason="needs the weights of mumap")
def test_a_real_patient_has_lungs_and_gets_counts_back():
    made = sf.reconstruct(SAMPLE, ac="predicted", planes=("SA",))
    z, y, x = (
        int(np.abs(axis - at).argmin())
        for axis, at in zip(
            (made.grid.axis_z(), made.grid.axis_y(), made.grid.axis_x()), made.axes.centre[::-1], strict=True
        )
    )
    mu = made.mu[z - 2 : z + 3]
    inside = mu > 0.02
    assert float(mu[:, y - 2 : y + 3, x - 2 : x + 3].mean()) == pytest.approx(0.15, abs=0.02)
    assert 0.05 < float((mu < 0.08)[inside].float().mean()) < 0.5
    assert float(mu[:, :8].max()) < 0.05
    ratio = (
        made.volumes["AC"][z, y - 6 : y + 7, x - 6 : x + 7].sum()
        / made.volumes["NC"][z, y - 6 : y + 7, x - 6 : x + 7].sum()
    )
    assert 2.5 < float(ratio) < 8
