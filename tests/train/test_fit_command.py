"""`spectac fit`: a solver fitted to a bridge, kept in its weight file, and what samples by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_bbdm import CONFIG, random_tensors

from spectac_fast.checkpoints.weights import load_weights, save_weights
from spectac_fast.cli import main as spectac
from spectac_fast.diffusion.bridge_sampler import BridgeSampler
from spectac_fast.errors import InputError
from spectac_fast.models.registry import load

SPACING = ("--pixel-mm", "6.8", "--slice-mm", "6.8")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(weight file, pairs of two patients, the fitted weight file)."""
    folder = tmp_path_factory.mktemp("fit")
    torch.manual_seed(0)
    save_weights(folder / "tiny.safetensors", random_tensors(), "bbdm", CONFIG, {"seed": 5})
    generator = np.random.default_rng(0)
    for side in ("NC", "AC"):
        (folder / "pairs" / side).mkdir(parents=True)
        for name in ("one", "two"):
            counts = generator.poisson(50, (9, 16, 16)).astype(np.float32)
            np.save(folder / "pairs" / side / f"{name}_stress_SA.npy", counts)
    weights, pairs, out = folder / "tiny.safetensors", folder / "pairs", folder / "fitted.safetensors"
    arguments = ["--steps", "3", "2", "--long-steps", "12", *SPACING, "-d", "cpu"]
    assert spectac(["fit", str(weights), "--data", str(pairs), "-o", str(out), *arguments]) == 0
    return weights, pairs, out


def test_samples_use_the_table_and_nothing_else_changes(files):
    before, after = (load(path, device="cpu") for path in (files[0], files[2]))
    assert sorted(after.fitted) == [2, 3]
    nc, seeds = torch.randn(2, 1, 16, 16), torch.tensor([3, 4])
    assert torch.equal(after.translate(nc, seeds), before.translate(nc, seeds))
    own = BridgeSampler(after.engine, after.model.bridge, after.fitted[3])(nc, seeds)
    sample = after.translate(nc, seeds, samples=1)
    assert torch.equal(sample, own)
    assert torch.equal(after.translate(nc, seeds, samples=1, steps=3, solver="fitted"), own)
    assert torch.equal(after.translate(nc, seeds, samples=1, steps=list(after.fitted[3].t)), own)
    plain = before.translate(nc, seeds, samples=1)
    assert float((sample - plain).abs().max()) > 1e-4
    assert torch.equal(after.translate(nc, seeds, samples=1, solver="dbim"), plain)
    # Numbers of evaluations without a table are those of the solver that was fitted.
    assert torch.equal(after.translate(nc, seeds, samples=1, steps=4), before.translate(nc, seeds, samples=1, steps=4))
    mean, spread = after.moments(nc, seeds, samples=2)
    assert float(spread.min()) >= 0
    assert torch.isfinite(mean).all()


def test_a_table_that_is_not_there(files):
    before, after = (load(path, device="cpu") for path in (files[0], files[2]))
    nc = torch.zeros(1, 1, 16, 16)
    with pytest.raises(ValueError, match=r"no fitted table for steps=4; those there are: 2, 3\."):
        after.translate(nc, steps=4, samples=1, solver="fitted")
    with pytest.raises(ValueError, match="none at all"):
        before.translate(nc, steps=3, samples=1, solver="fitted")
    assert torch.equal(before.translate(nc, steps=1, solver="fitted"), before.translate(nc))


def test_info_names_the_tables(files, capsys):
    assert spectac(["info", str(files[2])]) == 0
    said = capsys.readouterr().out
    steps = ", ".join(map(str, load(files[2], device="cpu").fitted[3].t))
    assert f"fitted table of 3 evaluations, the solver of its samples: timesteps {steps}\n" in said
    assert "fitted table of 2 evaluations, a solver" in said
    assert load(files[0], device="cpu").weights_sha256 in said


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda config: config["fitted"][0]["rows"][1].__setitem__(3, float("nan")), "found nan"),
        (lambda config: config.update(fitted=config["fitted"][0]), "list of tables"),
        (lambda config: config["fitted"].append(config["fitted"][0]), "same number"),
        (lambda config: config["fitted"].pop(0), "no fitted table of 3"),
        (lambda config: config["bridge"].update(max_var=0.06), "another bridge"),
    ],
)
def test_a_weight_file_with_a_table_that_cannot_be_is_refused(files, tmp_path, spoil, message):
    tensors, header = load_weights(files[2])
    spoil(header["config"])
    path = tmp_path / "odd.safetensors"
    save_weights(path, tensors, header["model"], header["config"], header["card"])
    with pytest.raises(InputError, match=rf"odd\.safetensors.*{message}"):
        load(path, device="cpu")


@pytest.mark.parametrize(
    ("model", "more", "sentence"),
    [
        ("identity", (), "expected a bridge"),
        (None, ("--steps", "1"), "--steps"),
        (None, ("--steps", "3", "3"), "--steps"),
        (None, ("--steps", "201"), "--steps"),
        (None, ("--pixel-mm", "4.8"), "pixels of 6.8 mm"),
        (None, ("-o", "table.json"), "table.json"),
    ],
)
def test_what_cannot_be_fitted_is_one_sentence(files, tmp_path, capsys, model, more, sentence):
    arguments = ["--data", str(files[1]), "-o", str(tmp_path / "out.safetensors"), "-d", "cpu", *SPACING, *more]
    assert spectac(["fit", model or str(files[0]), *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("spectac: ")
    assert sentence in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())
