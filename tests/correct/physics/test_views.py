"""Views that networks make before a reconstruction: what becomes of the counts, and what the files say of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest
import torch
from fake_map_model import write_constant_maps
from fake_patient import ANGLES, AXES, WATER, body, ventricle, views_of, write_patient
from fake_tomo import WINDOWS, write_tomo
from view_models import LEARNT, write_view_model

import spectac_fast as sf
from spectac_fast.cli import main
from spectac_fast.correct.physics.reconstructor import Reconstructor
from spectac_fast.correct.physics.views import Prepared
from spectac_fast.correct.physics.volumes import make
from spectac_fast.correct.physics.wanted import Wanted
from spectac_fast.errors import InputError, SetupError, UsageError
from spectac_fast.formats.dicom.derivation import reconstruction_of
from spectac_fast.formats.dicom.tomo.read import read_projections
from spectac_fast.models import names
from spectac_fast.models.views.dudoss import Layout, load_view_model
from spectac_fast.reconstruct.post_filter import low_pass
from spectac_fast.reconstruct.settings import usual

AXIS = (45.0, 25.0, *map(float, AXES.centre))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_patient(tmp_path_factory.mktemp("tomo") / "tomo.dcm", np.random.default_rng())


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    return write_view_model(tmp_path_factory.mktemp("model") / "views.safetensors", "dudoss")


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    return write_view_model(tmp_path_factory.mktemp("model") / "counts.safetensors", "cunet")


def watched(monkeypatch):
    """What is reconstructed, as it is prepared."""
    from spectac_fast.correct.physics import views as module

    seen = []
    prepare = module.Preparation.prepare

    def keeping(self, acquired, projections):
        seen.append((acquired, prepare(self, acquired, projections)))
        return seen[-1][1]

    monkeypatch.setattr(module.Preparation, "prepare", keeping)
    return seen


def test_nothing_is_changed_unless_it_is_asked_for(file, monkeypatch):
    seen = watched(monkeypatch)
    sf.reconstruct(file, axis=AXIS, planes=("SA",))
    acquired, prepared = seen[0]
    assert prepared.acquired is acquired
    assert (prepared.layout, prepared.words, prepared.notes, prepared.share) == (None, "", (), 1.0)
    assert "views by" not in Reconstructor().provenance.settings


def test_measured_views_are_kept_and_counts_are_those_of_the_measured(file, views, monkeypatch):
    seen = watched(monkeypatch)
    plain = sf.reconstruct(file, axis=AXIS, planes=("SA",))
    made = sf.reconstruct(file, axis=AXIS, planes=("SA",), views_by=views)
    acquired, prepared = seen[-1]
    # 7.5 degrees become 2.5.
    assert prepared.acquired.views == 3 * len(ANGLES)
    assert torch.equal(prepared.acquired.counts[prepared.layout.measured], acquired.counts)
    directly = prepared.acquired.volume(usual(72)) / 3
    np.testing.assert_allclose(made.volumes["NC"], low_pass(directly, 6.8, usual(72).filter), rtol=1e-4, atol=1e-3)
    assert float(made.volumes["NC"].sum()) == pytest.approx(float(plain.volumes["NC"].sum()), rel=0.03)
    # Sharper by no means, but the same patient.
    assert np.corrcoef(made.volumes["NC"].flatten(), plain.volumes["NC"].flatten())[0, 1] > 0.97


def test_less_noise_and_all_views_together(file, views, counts, monkeypatch):
    seen = watched(monkeypatch)
    sf.reconstruct(file, axis=AXIS, planes=("SA",), denoise=counts)
    acquired, alone = seen[-1]
    assert not torch.equal(alone.acquired.counts, acquired.counts)
    sf.reconstruct(file, axis=AXIS, planes=("SA",), denoise=counts, views_by=views)
    _, both = seen[-1]
    assert torch.equal(both.acquired.counts[both.layout.measured], alone.acquired.counts)
    # What lies between is made of counts, and the same whether they are denoised or not.
    by_counts = load_view_model(views, "cpu").completed(acquired, both.layout)
    missing = both.layout.missing
    assert torch.equal(both.acquired.counts[missing], by_counts.counts[missing])
    assert torch.equal(acquired.counts, acquired.counts.round())


def test_files_say_what_was_done_and_by_which_weights(file, views, counts, tmp_path, capsys):
    out, soft = tmp_path / "out", write_constant_maps(tmp_path / "soft.safetensors", 0.12)
    command = ["reconstruct", "-i", file, "-o", out, "--planes", "SA", "--views-by", views, "--denoise", counts]
    command += ["--ac", "predicted", "--maps", soft, "--progress", "off"]
    assert main([*map(str, command)]) == 0
    for kind in ("NC", "AC"):
        ds = pydicom.dcmread(out / f"tomo_{kind}_SA.dcm")
        said = reconstruction_of(ds)
        assert "from projections, 2 of 3 views by dudoss, weights " in said
        assert ", counts denoised by cunet, weights " in said
        # The rotation is that of the camera.
        assert ds.RotationInformationSequence[0].NumberOfFramesInRotation == len(ANGLES)
    capsys.readouterr()
    assert main([*map(str, command)]) == 0
    assert "3 series finished before" in capsys.readouterr().out
    other = write_view_model(tmp_path / "other.safetensors", "dudoss", scale=0.01)
    command[command.index(views)] = other
    status = main([*map(str, command)])
    assert (status, "finished before" in capsys.readouterr().out) != (0, True)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"views_by": "views"}, "from projections, 2 of 3 views by dudoss, weights "),
        ({"denoise": "counts"}, "from projections, counts denoised by cunet, weights "),
    ],
)
def test_either_is_said_alone(file, views, counts, tmp_path, wanted, said):
    by = {"views": views, "counts": counts}
    reconstructor = Reconstructor(axis=AXIS, planes=("SA",), **{name: by[of] for name, of in wanted.items()})
    plan = reconstructor.plan([file], tmp_path / "out")
    (result,) = reconstructor.run(plan)
    assert said in reconstruction_of(pydicom.dcmread(result.written[0]))


def test_scatter_windows_follow_to_the_views_between(views, tmp_path, monkeypatch):
    rng = np.random.default_rng()
    expected = views_of(400.0 * (ventricle() + 0.1 * body()), WATER * body()).numpy()
    both = np.stack([rng.poisson(expected), rng.poisson(0.4 * expected)]).transpose(0, 1, 3, 2)[:, :, ::-1]
    path = write_tomo(
        tmp_path / "windows.dcm", both.astype(np.uint16), angles=ANGLES, radius_mm=(200.0,), windows_kev=WINDOWS[:2]
    )
    plain = sf.reconstruct(path, axis=AXIS, planes=("SA",), scatter="window")
    made = sf.reconstruct(path, axis=AXIS, planes=("SA",), scatter="window", views_by=views)
    none = sf.reconstruct(path, axis=AXIS, planes=("SA",), views_by=views)
    sums = [float(each.volumes["NC"].sum()) for each in (plain, made, none)]
    assert sums[1] == pytest.approx(sums[0], rel=0.05)
    assert sums[1] < 0.95 * sums[2]


def test_what_is_known_of_measured_views_is_drawn_between_them():
    layout = Layout(4, 2, closed=False)
    ramp = torch.arange(4.0)[:, None, None].expand(4, 2, 3)
    found = Prepared(None, layout).all_views(ramp)
    np.testing.assert_allclose(found[:, 0, 0], [0, 0.5, 1, 1.5, 2, 2.5, 3, 3])
    assert Prepared(None).all_views(ramp) is ramp


def test_doubts_are_said(file, tmp_path, capsys):
    dim = {**LEARNT, "bright": [500.0, 900.0], "pixel": [3.0, 4.0]}
    views = write_view_model(tmp_path / "views.safetensors", "dudoss", learnt=dim)
    counts = write_view_model(tmp_path / "counts.safetensors", "cunet", learnt=dim)
    command = ["reconstruct", "-i", file, "-o", tmp_path / "out", "--views-by", views, "--denoise", counts]
    assert main([*map(str, command), "--progress", "off"]) == 0
    said = capsys.readouterr().err
    for name in ("dudoss", "cunet"):
        assert f"there are 6.8 mm across its bins, and {name} was trained on 3 to 4." in said
        assert f"counts in its brightest bins, and {name} was trained on 500 to 900." in said


def test_enough_views_and_scaled_counts_and_thallium_are_said(views, counts, tmp_path):
    rng = np.random.default_rng()
    angles = -45 + 1.5 + 3.0 * np.arange(60)
    counted = rng.poisson(20.0, (1, 60, 20, 32)).astype(np.uint16)
    fine = write_tomo(tmp_path / "fine.dcm", counted, angles=angles)
    made = sf.reconstruct(fine, axis=AXIS, planes=("SA",), views_by=views)
    assert "its views are near enough to each other; none was added." in made.notes
    read = read_projections(fine)
    thallium = replace(read, isotope="Tl-201", peak=replace(read.peak, counts=1.5 * read.peak.counts))
    notes = make(thallium, Wanted(axis=AXIS, planes=("SA",), denoise=counts)).notes
    assert "its counts are of Tl-201; the networks of views learnt of Tc-99m." in notes
    assert any(note.startswith("its counts are no whole numbers") for note in notes)


def test_views_that_cannot_be_completed_and_settings_that_make_no_sense(file, views, counts, tmp_path, monkeypatch):
    uneven = ANGLES.copy()
    uneven[7] += 2.5
    with pytest.raises(InputError, match=r"tomo.dcm: expected views at equal steps to add others"):
        make(replace(read_projections(file), angles=uneven), Wanted(axis=AXIS, views_by=views))
    for wanted in ({"views_by": views}, {"denoise": counts}):
        with pytest.raises(UsageError, match="uncertainty: expected counts as acquired"):
            Wanted(ac="predicted", uncertainty=4, **wanted)
    with pytest.raises(InputError, match="holds a model 'cunet', expected dudoss"):
        Reconstructor(views_by=counts)
    monkeypatch.setattr(names, "FOLDER", tmp_path)
    for wanted, name in (({"views_by": "dudoss"}, "dudoss"), ({"denoise": "cunet"}, "cunet")):
        with pytest.raises(SetupError, match=f"weights of {name} are not installed"):
            Reconstructor(**wanted)
