"""What an engineer gives `Corrector` from Python: clear errors for what makes no sense, and a Corrector travels."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
from fake_study import Times, heart, write_study

import spectac_fast as sf
from spectac_fast import cli
from spectac_fast.correct import correct_study
from spectac_fast.diffusion.graph import Graphs
from spectac_fast.errors import UsageError
from spectac_fast.formats.series import Told


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"model": 5}, TypeError, "model: expected a name, a path or a Translator, found int"),
        ({"device": 0}, TypeError, "device: expected"),
        ({"jobs": 0}, ValueError, "jobs: expected at least 1, found 0"),
        ({"jobs": 1.5}, TypeError, "jobs: expected a whole number"),
        ({"seed": "a"}, TypeError, "seed: expected a whole number, found 'a'"),
        ({"samples": 0}, ValueError, "samples: expected at least 1"),
        ({"steps": True}, TypeError, "steps: expected a whole number"),
        ({"uncertainty": "4"}, TypeError, "uncertainty: expected a whole number"),
        ({"told": {"phase": "rest"}}, TypeError, "told: expected a Told, found dict"),
    ],
)
def test_arguments_that_make_no_sense(options, error, said):
    with pytest.raises(error, match=said):
        sf.Corrector(**({"model": Times(2.0)} | options))


def test_numbers_of_numpy_are_numbers():
    assert sf.Corrector(Times(2.0), jobs=np.int64(2), seed=np.int32(-3)).jobs == 2


def test_one_path_is_a_path(tmp_path, rng):
    write_study(tmp_path / "in", rng, planes=("SA",), phases=("stress",))
    corrector = sf.Corrector(Times(2.0))
    for inputs in (str(tmp_path / "in"), tmp_path / "in", [tmp_path / "in"], (each for each in [str(tmp_path / "in")])):
        assert [len(result.counts) for result in corrector.map(inputs)] == [1]
    with pytest.raises(ValueError, match="at least one path"):
        corrector.map([])
    with pytest.raises(TypeError):
        corrector.map([5])


def test_a_first_stage_corrects_nothing_and_says_so(tmp_path, rng, capsys):
    """It would write NC, coded and painted again, with the words of an attenuation-corrected series."""
    study = tmp_path / "study"
    write_study(study, rng)
    said = "the model vqgan is a first stage, which codes images and corrects nothing: expected a model of AC"
    with pytest.raises(UsageError, match=said):
        sf.Corrector("vqgan")
    with pytest.raises(UsageError, match=said):
        correct_study(sf.read_study(study), sf.load("vqgan"))
    assert cli.main(["correct", str(study), "-m", "vqgan", "-o", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_a_node_does_not_listen_for_a_first_stage(tmp_path, capsys):
    pytest.importorskip("pynetdicom", reason="needs pynetdicom (extra: node)")
    assert cli.main(["serve", "--spool", str(tmp_path), "--port", "0", "-m", "vqgan"]) == 2
    assert "vqgan is a first stage" in capsys.readouterr().err


def first_counts(corrector: sf.Corrector, path: Path) -> np.ndarray:
    return next(iter(corrector.map(path))).counts[0]


def test_a_corrector_travels_to_another_process(tmp_path, rng):
    write_study(tmp_path / "in", rng, planes=("SA",), phases=("stress",))
    corrector = sf.Corrector("bbdm", batch_size=4)
    here = first_counts(corrector, tmp_path / "in")
    # After a run, when networks have been made ready and buffers are there.
    sent = pickle.dumps(corrector)
    np.testing.assert_array_equal(first_counts(pickle.loads(sent), tmp_path / "in"), here)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(first_counts, (corrector, tmp_path / "in"))
    np.testing.assert_array_equal(there, here)
    assert copy.deepcopy(corrector).provenance == corrector.provenance


def test_recordings_stay_where_they_are():
    graphs = Graphs(budget=7)
    graphs.call(heart, "key", heart, [])
    assert len(graphs._seen) == 1
    moved = pickle.loads(pickle.dumps(graphs))
    assert (moved.budget, len(moved._seen)) == (7, 0)


@pytest.mark.parametrize("factor", [1e35, 1e-30])
def test_counts_beyond_any_unit_are_refused(tmp_path, rng, factor):
    np.save(tmp_path / "SA_stress_NC.npy", (heart(rng) * factor).astype(np.float32))
    told = Told(plane="SA", phase="stress", pixel_mm=6.8, slice_mm=6.8)
    (result,) = sf.Corrector(Times(2.0), told=told).map(tmp_path / "SA_stress_NC.npy")
    assert "expected a maximum of 1e-12 to 1e+12 counts" in result.failed[0]


class Told3(Times):
    """A translator that is told three facts and says what it heard."""

    facts = ("sex", "arc", "keeps_scatter")

    def translate(self, nc, seeds=None, neighbours=None, facts=None, **options):
        self.heard = facts
        return super().translate(nc, seeds, neighbours, **options)


def test_a_model_is_told_what_headers_say(tmp_path, rng):
    write_study(tmp_path / "in", rng, planes=("SA",), phases=("stress",))
    model = Told3(2.0)
    first_counts(sf.Corrector(model, batch_size=4), tmp_path / "in")
    # The last batch holds one slice of 29 and three that nobody asked for.
    assert model.heard.tolist() == [[-1.0, -1.0, 0.0], *[[0.0] * 3] * 3]
    correct_study(sf.read_study(tmp_path / "in"), model)
    assert model.heard.tolist() == [[-1.0, -1.0, 0.0]] * 29
    kept = sf.Corrector(model, batch_size=4, told=Told(keep_scatter=True))
    first_counts(kept, tmp_path / "in")
    assert model.heard[0].tolist() == [-1.0, -1.0, 1.0]
    assert kept.provenance.settings["scatter"] == "kept"


def test_scatter_is_kept_by_models_alone_that_know_both(tmp_path, rng, capsys):
    said = "keep scatter: expected a model that learnt from AC of both kinds, such as bbdm, found times"
    with pytest.raises(UsageError, match=said):
        sf.Corrector(Times(2.0), told=Told(keep_scatter=True))
    write_study(tmp_path / "in", rng, planes=("SA",), phases=("stress",))
    arguments = ["correct", str(tmp_path / "in"), "-m", "pix2pix", "--keep-scatter", "-o", str(tmp_path / "out")]
    assert cli.main(arguments) == 2
    assert "found pix2pix" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class Told4(Told3):
    """And a fourth."""

    facts = ("sex", "arc", "keeps_scatter", "sharper")


def test_ac_that_recovers_resolution_is_asked_for(tmp_path, rng, capsys):
    write_study(tmp_path / "in", rng, planes=("SA",), phases=("stress",))
    model = Told4(2.0)
    corrector = sf.Corrector(model, batch_size=4, told=Told(sharper=True))
    first_counts(corrector, tmp_path / "in")
    assert model.heard[0].tolist() == [-1.0, -1.0, 0.0, 1.0]
    assert corrector.provenance.settings["resolution"] == "recovered"
    assert "resolution" not in sf.Corrector(model).provenance.settings
    with pytest.raises(UsageError, match="sharper: expected a model that learnt from AC of both resolutions"):
        sf.Corrector(Told3(2.0), told=Told(sharper=True))
    arguments = ["correct", str(tmp_path / "in"), "-m", "pix2pix", "--sharper", "-o", str(tmp_path / "out")]
    assert cli.main(arguments) == 2
    assert "found pix2pix" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
