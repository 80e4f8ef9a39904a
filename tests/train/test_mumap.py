"""Networks of attenuation maps: they learn, a killed run goes on, and their weights make maps."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from fake_maps import HEART_MM, write_maps
from small_recipes import small
from tiny_training import TinyCohort

from spectac_fast.cli import main
from spectac_fast.cohort.joined import JoinedCohort
from spectac_fast.cohort.map_cohort import MapCohort
from spectac_fast.errors import InputError, UsageError
from spectac_fast.models.mumap import load_map_model
from spectac_fast.models.mumap_bridge import UNSEEN, load_map_bridge, marked
from spectac_fast.models.registry import load
from spectac_fast.reconstruct.grid import Grid
from spectac_fast.train.learner import generator_of
from spectac_fast.train.loop import optimise as loop
from spectac_fast.train.loop.budget import Budget
from spectac_fast.train.maps.paths import Paths
from spectac_fast.train.maps.slices import MapSlices
from spectac_fast.train.maps.validation import MapValidation
from spectac_fast.train.run import Options, train

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_maps(tmp_path_factory.mktemp("maps") / "train", [3, 4])


@pytest.fixture(scope="module")
def cohort(folder):
    return MapCohort(folder)


def recipe_of(model):
    made = small(model, learning_rate=3e-3)
    return made.__class__(**{**made.as_dict(), "data": {**made.data, "size": [64, 64], "batch": 4}})


@pytest.fixture(scope="module")
def recipe():
    return recipe_of("mumap")


def entries(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in entry.items() if key != "minutes"} for entry in lines]


@pytest.mark.parametrize(("name", "load_maps"), [("mumap", load_map_model), ("mumap-bridge", load_map_bridge)])
def test_a_killed_run_goes_on_and_its_weights_make_maps(name, load_maps, folder, tmp_path, monkeypatch):
    cohort, recipe = MapCohort(folder), recipe_of(name)
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

    model = load_maps(path, device="cpu")
    assert model.card["data"]["training_seeds"] == [[3, 4]]
    # A field that is smaller than a body, or larger than the network's, and voxels of other sizes.
    for n, nz, dx in ((64, 20, 6.8), (64, 30, 4.9), (128, 40, 4.0), (32, 9, 6.8)):
        seen = torch.rand(nz, n, n), Grid(n, nz, dx)
        mu = model.predict(*seen) if name == "mumap" else model.samples(*seen, 1)[0]
        assert mu.shape[0] == nz
        assert mu.shape[1] == mu.shape[2] >= n
        assert mu.shape[2] % 2 == n % 2
        assert mu.shape[2] * dx >= 64 * 6.8 - 1e-3
        assert float(mu.min()) >= 0
        assert float(mu.max()) <= 0.30
    with pytest.raises(InputError, match=f"holds a model '{name}'"):
        load(path)


def test_it_learns_from_the_command(folder, recipe, tmp_path, capsys):
    """The body's outline and the lungs, better than a body of one value."""
    validation = write_maps(tmp_path / "validation", [500_001])
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.as_dict()))
    command = ["train", "mumap", "--data", folder, "--validation", validation, "-o", tmp_path / "run", "-d", "cpu"]
    assert main([*map(str, command), "--recipe", str(tmp_path / "recipe.json"), "--steps", "60"]) == 0
    found = json.loads((tmp_path / "run" / "card.json").read_text())["validation"]
    assert found["as_shipped"]["survival"] < 0.7 * found["uniform"]["survival"]
    assert found["as_shipped"]["survival"] == pytest.approx(found["trained"]["survival"], rel=0.05)
    assert main(["info", str(tmp_path / "run" / "mumap64.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "model mumap: predicts attenuation maps from NC" in said
    assert "training_seeds" in said
    # Moved by a slice along the body, it differs from it by nothing.
    assert found["ct"]["nmae"] < 0.05


def test_a_bridge_learns_maps_and_draws_others_each_time(folder, tmp_path):
    """From one evaluation it knows more than a body of one value; its samples differ, but not with the weather."""
    cohort, validation = MapCohort(folder), MapCohort(write_maps(tmp_path / "validation", [500_001]))
    recipe, budget = recipe_of("mumap-bridge"), Budget(steps=90)
    path = train(cohort, validation, tmp_path / "run", recipe, Options(budget, seed=7))
    found = json.loads((tmp_path / "run" / "card.json").read_text())["validation"]
    assert found["as_shipped"]["survival"] < 0.8 * found["uniform"]["survival"]

    model, grid = load_map_bridge(path, device="cpu"), Grid(64, 20, 6.8)
    nc = torch.from_numpy(validation.volume(0, "NC_REST").astype(np.float32))
    maps = model.samples(nc, grid, 3, seed=5)
    assert maps.shape == (3, 20, 64, 64)
    assert torch.equal(model.samples(nc, grid, 3, seed=5), maps)
    # A sample is what it is, however many others are drawn.
    assert torch.allclose(model.samples(nc, grid, 2, seed=5), maps[:2], atol=1e-5)
    assert not torch.allclose(model.samples(nc, grid, 3, seed=6), maps, atol=1e-3)
    assert float(maps.std(0).mean()) > 1e-4
    with pytest.raises(UsageError, match="expected at least one map, found 0"):
        model.samples(nc, grid, 0)


def test_where_no_camera_looked_is_no_place_without_counts():
    """The field is written into every slice that the bridge sees, its end among them."""
    seen = torch.full((2, 6, 4, 4), -1.0)
    seen[:, -1, :, :2] = 1.0
    found = marked(seen)
    assert found.shape == (2, 5, 4, 4)
    assert (found[..., :2] == -1.0).all()
    assert (found[..., 2:] == UNSEEN).all()


def test_cohorts_of_another_kind_are_refused(cohort, recipe, tmp_path):
    watched = MapCohort(write_maps(tmp_path / "watched-maps", [500_001]))
    with pytest.raises(UsageError, match="attenuation maps learns from cohorts of maps"):
        train(TinyCohort([3], side=32), None, tmp_path / "pairs", recipe)
    with pytest.raises(UsageError, match="regression learns from pairs"):
        train(cohort, None, tmp_path / "maps", small("regression"))
    with pytest.raises(UsageError, match="regression learns from pairs"):
        train(TinyCohort([3], side=32), watched, tmp_path / "watched", small("regression"), Options(Budget(steps=1)))
    with pytest.raises(InputError, match="found 2 seeds twice"):
        JoinedCohort([cohort, cohort])


def test_slices_are_those_of_the_volumes(cohort, tmp_path):
    other = MapCohort(write_maps(tmp_path / "other", [9]))
    slices = MapSlices(JoinedCohort([cohort, other]), [0, 1, 2])
    assert len(slices) == 3 * 2 * 20
    seen, mu, heart = slices.stack(2, "rest", 2)
    assert seen.shape == (20, 6, 64, 64)
    assert torch.equal(seen[3, 1:5], seen[[1, 2, 4, 5], 0])
    assert torch.equal(seen[0, 1], seen[0, 0])
    np.testing.assert_allclose(0.075 * (mu[:, 0] + 1), other.volume(0, "MU"), atol=1e-4)
    middle = np.argwhere(heart[:, 0].numpy() > 0).mean(0)
    np.testing.assert_allclose(middle, other.heart(0), atol=0.3)
    assert HEART_MM[0] == pytest.approx((other.heart(0)[2] - 31.5) * 6.8)
    # About every count the compression is the same function, and the map does not know the factor.
    batch = slices.batch(generator_of(0, 0), 40, 3, 0.1, 2)
    assert batch.neighbours.shape == (40, 5, 64, 64)
    assert float(batch.heart.amax((1, 2, 3)).mean()) > 0.4
    assert float(batch.ac.max()) == pytest.approx(1.0, abs=1e-3)


def test_paths_are_those_of_photons():
    """From the middle of a disc of water all views are equally far; without a map all photons are seen."""
    paths = Paths(64, 6.8, 8)
    # Corners leave the field as the camera turns.
    free = paths.survival(torch.zeros(2, 1, 64, 64))[..., 12:52, 12:52]
    assert torch.allclose(free, torch.ones_like(free), atol=1e-4)
    places = (torch.arange(64) - 31.5) * 6.8
    disc = 0.15 * (torch.hypot(places[:, None], places[None]) < 100).float()
    mu = disc.expand(1, 1, 64, 64).clone().requires_grad_()
    share = paths.survival(mu)[0, 0, 31:33, 31:33].mean()
    assert share.item() == pytest.approx(math.exp(-1.5), rel=0.05)
    share.backward()
    assert float(mu.grad.sum()) < 0


def test_a_perfect_map_has_no_error(cohort):
    watched = MapValidation(cohort, [0], 0, torch.device("cpu"))
    true = iter([watched.slices.stack(0, "stress", 0)[1]] * 4)

    def perfect(seen):
        return next(true)[: len(seen)] if len(seen) == 16 else watched.slices.stack(0, "stress", 0)[1][16:]

    assert watched.scores(perfect) == {"nmae": 0.0, "heart_nmae": 0.0, "survival": 0.0}
    assert watched.rows["uniform"]["nmae"] > 0.05
