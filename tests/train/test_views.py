"""Networks of projections learn from counts alone, a killed run goes on, and their weights make views."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_maps import write_maps
from fake_patient import ANGLES, acquired
from fake_tomo import counts as tomo_counts
from fake_tomo import write_tomo
from scipy import stats
from small_recipes import small
from tiny_training import TinyCohort
from view_models import FINE, small_views, write_patients

from spectac_fast.cli import main
from spectac_fast.cohort.map_cohort import MapCohort
from spectac_fast.cohort.views import ViewCohort
from spectac_fast.errors import InputError, UsageError
from spectac_fast.models.views.cunet import load_count_model
from spectac_fast.models.views.dudoss import load_view_model, network_of
from spectac_fast.train.loop import optimise as loop
from spectac_fast.train.loop.budget import Budget
from spectac_fast.train.run import Options, train
from spectac_fast.train.views.cunet import CountValidation, SplitCounts, cut
from spectac_fast.train.views.deviance import deviance
from spectac_fast.train.views.dudoss import SparseValidation, SparseViews, factors_of, sparse
from spectac_fast.train.views.stacks import ViewStacks, thinned

pytestmark = pytest.mark.chain


@pytest.fixture
def rng():
    return np.random.default_rng()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_patients(tmp_path_factory.mktemp("views") / "train", 2, np.random.default_rng())


@pytest.fixture(scope="module")
def stacks(folder):
    cohort = ViewCohort([folder])
    return ViewStacks(cohort, range(len(cohort)))


def entries(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in entry.items() if key != "minutes"} for entry in lines]


@pytest.mark.parametrize(("name", "load_model"), [("cunet", load_count_model), ("dudoss", load_view_model)])
def test_a_killed_run_goes_on_and_its_weights_are_read(name, load_model, folder, tmp_path, monkeypatch):
    cohort, recipe = ViewCohort([folder]), small_views(name)
    monkeypatch.setattr(loop, "_LOG_EVERY", 1)
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", 0.0)
    path = train(cohort, None, tmp_path / "whole", recipe, Options(Budget(steps=3), seed=7))
    advance = loop._step

    def fail_once(state, recipe):
        if state.step == 2:
            raise KeyboardInterrupt
        return advance(state, recipe)

    monkeypatch.setattr(loop, "_step", fail_once)
    with pytest.raises(KeyboardInterrupt):
        train(cohort, None, tmp_path / "broken", recipe, Options(Budget(steps=3), seed=7))
    monkeypatch.setattr(loop, "_step", advance)
    train(cohort, None, tmp_path / "broken", recipe, Options(Budget(steps=3), seed=7, resume=True))
    assert len(entries(tmp_path / "whole")) == 3
    assert entries(tmp_path / "broken") == entries(tmp_path / "whole")
    model = load_model(path, device="cpu")
    assert len(model.card["data"]["training_pairs_sha256"]) == 64
    assert model.learnt.pixel == (6.8, 6.8)
    assert path.name == f"{name}24.safetensors"


@pytest.mark.parametrize("name", ["cunet", "dudoss"])
def test_they_learn_from_the_command(name, folder, tmp_path, capsys, rng):
    """Less noise than counts have, and views nearer to what was counted than the ones beside them."""
    watched = write_patients(tmp_path / "watched", 1, rng)
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(small_views(name).as_dict()))
    command = ["train", name, "--data", folder, "--validation", watched, "-o", tmp_path / "run", "-d", "cpu"]
    assert main([*map(str, command), "--recipe", str(recipe), "--steps", "6"]) == 0
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    found = card["validation"]
    other = "counted" if name == "cunet" else "between"
    assert found["as_shipped"]["deviance"] < 0.8 * found[other]["deviance"]
    assert found["as_shipped"]["deviance"] == pytest.approx(found["trained"]["deviance"], rel=0.05)
    assert card["data"]["cases"] == 2
    assert card["data"]["slices"] == 2 * len(FINE)
    assert main(["info", str(tmp_path / "run" / f"{name}24.safetensors")]) == 0
    said = capsys.readouterr().out
    assert f"model {name}: " in said
    assert "spectac reconstruct --" in said


def test_a_cohort_is_all_projections_below_its_folders(folder, tmp_path, rng, capsys):
    one = write_patients(tmp_path / "a", 1, rng)
    (one / "again.dcm").write_bytes((one / "0.dcm").read_bytes())
    (one / "broken.dcm").write_bytes((one / "0.dcm").read_bytes()[:3000])
    (one / "notes.txt").write_text("none")
    case = tmp_path / "synthetic" / "case-7"
    case.mkdir(parents=True)
    for phase in ("stress", "rest"):
        write_tomo(case / f"{phase}_TOMO.dcm", tomo_counts(rng))
    (tmp_path / "synthetic" / "cohort.json").write_text(json.dumps({"cases": [{"seed": 7}]}))
    cohort = ViewCohort([one, tmp_path / "synthetic"])
    assert [list(case) for case in cohort.cases] == [["sha256"], ["seed"]]
    assert [len(cohort.acquisitions(i)) for i in range(2)] == [1, 2]
    assert len(cohort.skipped) == 1
    assert "broken.dcm" in cohort.skipped[0]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match=r"nothing: expected projections \(NM TOMO\), found none"):
        ViewCohort([tmp_path / "nothing"])
    command = ["train", "cunet", "--data", str(tmp_path / "nothing"), "-o", str(tmp_path / "run")]
    assert main(command) == 2
    assert "expected projections (NM TOMO), found none" in capsys.readouterr().err
    assert main([*command[:3], str(one), *command[4:], "--pixel-mm", "6.8"]) == 2
    assert "learns from projections" in capsys.readouterr().err
    assert main([*command[:3], str(one), *command[4:], "--validation", str(one)]) == 2
    assert "expected other patients than in --data" in capsys.readouterr().err


def test_data_of_another_kind_is_refused(folder, tmp_path):
    with pytest.raises(UsageError, match=r"cunet learns from projections, found NC_STRESS"):
        train(MapCohort(write_maps(tmp_path / "maps", [3])), None, tmp_path / "run", small_views("cunet"))
    with pytest.raises(UsageError, match=r"dudoss learns from projections, found"):
        train(TinyCohort([3]), None, tmp_path / "run2", small_views("dudoss"))
    with pytest.raises(UsageError, match=r"regression learns from pairs of NC and AC, found projections"):
        train(ViewCohort([folder]), None, tmp_path / "run3", small("regression"))


def test_counts_are_split_into_two_that_know_nothing_of_each_other(rng):
    counts = torch.from_numpy(rng.poisson(30.0, (4, 200, 200)).astype(np.float32))
    seen = thinned(counts, 0.3, rng)
    rest = counts - seen
    assert float(rest.min()) >= 0
    for part, share in ((seen, 0.3), (rest, 0.7)):
        assert float(part.mean()) == pytest.approx(share * 30, rel=0.01)
        assert float(part.var()) == pytest.approx(share * 30, rel=0.03)
    assert abs(stats.pearsonr(seen.flatten(), rest.flatten()).statistic) < 0.012


def test_a_batch_is_of_one_exposure(stacks, rng):
    settings = {"batch": 64, "size": [40, 32], "exposures": [0.25, 1.0], "shares": [0.3, 0.9]}
    seen, rest, ratio = SplitCounts(stacks, settings, 2).batch(rng)
    assert seen.shape == (64, 5, 40, 32)
    assert rest.shape == (64, 1, 40, 32)
    shares = 1 / (1 + ratio)
    assert float(shares.min()) >= 0.3
    assert float(shares.max()) <= 0.9 + 1e-6
    # What is not seen is so many times what is, view by view, as far as counts tell.
    found, expected = rest.sum((1, 2, 3)), (seen[:, 2:3] * ratio).sum((1, 2, 3))
    deviation = (expected + ratio[:, 0, 0, 0] ** 2 * seen[:, 2].sum((1, 2))).sqrt()
    assert float(((found - expected) / deviation).abs().max()) < 5
    assert cut(torch.ones(3, 10, 50), (12, 20), rng).shape == (3, 12, 20)
    assert float(cut(torch.ones(3, 10, 50), (12, 20), rng).sum()) == 3 * 10 * 20


def test_deviance_is_least_where_counts_are_as_expected(rng):
    counts = torch.from_numpy(rng.poisson(9.0, 100_000).astype(np.float32))
    found = {level: float(deviance(torch.full_like(counts, level), counts).mean()) for level in (8.0, 9.0, 10.0)}
    assert found[9.0] == pytest.approx(1.0, abs=0.05)
    assert min(found, key=found.__getitem__) == 9.0
    assert float(deviance(torch.tensor([3.0]), torch.zeros(1))) == pytest.approx(6.0)


@pytest.mark.parametrize(("factor", "start"), [(2, 0), (2, 1), (3, 0), (3, 2), (4, 1)])
def test_views_that_are_left_out_are_those_that_are_asked_for(factor, start):
    counts = torch.arange(24.0)[:, None, None].expand(24, 3, 2).contiguous()
    of = sparse(acquired(counts), factor, start)
    assert of.measured.counts[:, 0, 0].tolist() == list(range(start, 24, factor))
    places = of.counts[:, 0, 0].long()
    assert not set(places.tolist()) & set(range(start, 24, factor))
    np.testing.assert_allclose(np.array(of.whole.angles)[of.missing], ANGLES[places])
    assert torch.equal(of.whole.counts[of.layout.measured], of.measured.counts)


def test_acquisitions_are_made_as_sparse_as_can_be_used(stacks):
    assert factors_of(stacks.acquired[0]) == [2]
    coarse = acquired(torch.ones(24, 4, 4))
    assert factors_of(coarse) == []
    fine = replace(coarse, angles=tuple(-45 + 1.5 * np.arange(24)))
    assert factors_of(fine) == [2]
    assert factors_of(replace(fine, counts=torch.ones(48, 4, 4), angles=tuple(np.arange(48)))) == [2, 3, 4]
    few = ViewStacks.__new__(ViewStacks)
    few.acquired = [coarse]
    with pytest.raises(ValueError, match=r"training needs acquisitions of 20 views or more, at most 6.4 degrees apart"):
        SparseViews(few, {"exposures": [1.0, 1.0]})


def test_validation_knows_what_needs_no_network(stacks):
    rows = CountValidation(stacks, 2, torch.device("cpu")).rows
    assert rows["mean"]["deviance"] < rows["counted"]["deviance"]
    device = torch.device("cpu")
    rows = SparseValidation(stacks, network_of(small_views("dudoss").network), device).rows
    assert rows["begun"]["deviance"] < rows["projected"]["deviance"]
