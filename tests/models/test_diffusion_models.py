"""The conditional diffusions and the regression as translators: configuration, channels, batches, bad descriptions."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_noise import CONFIGS, FOLDED, GENTLE, UNET, weight_file

from spectac_fast.checkpoints.weights import save_weights
from spectac_fast.diffusion.sampler import sample_diffusion
from spectac_fast.diffusion.vp_solvers import vp_table
from spectac_fast.errors import InputError
from spectac_fast.models.engine.fit import Fit
from spectac_fast.models.registry import load
from spectac_fast.models.translator import Translator


def with_network(model, **changes):
    return {**CONFIGS[model], "network": {**CONFIGS[model]["network"], **changes}}


@pytest.fixture
def make(tmp_path):
    """Write a weight file with random tensors for a configuration, and load it."""
    return lambda model, config=None: load(weight_file(tmp_path, model, config or CONFIGS[model]), device="cpu")


def worst(a, b):
    return float((a - b).abs().max())


@pytest.mark.parametrize("model", list(CONFIGS))
def test_translators_batch_and_fit(make, model):
    translator, nc, seeds = make(model), torch.randn(5, 1, 13, 16), torch.arange(5) + 2**40
    assert isinstance(translator, Translator)
    assert (translator.name, translator.gain, translator.context_mm) == (model, 1.7, ())
    together = translator.translate(nc, seeds)
    assert together.shape == nc.shape
    assert together.dtype == torch.float32
    alone = torch.cat([translator.translate(nc[i : i + 1], seeds[i : i + 1]) for i in range(5)])
    assert worst(together, alone) < 1e-5
    assert torch.equal(together, translator.translate(nc, seeds, order=2))
    with pytest.raises(ValueError, match="nc must be float32"):
        translator.translate(nc[:, 0])


@pytest.mark.parametrize("model", ["ddpm", "palette"])
def test_samples_are_averaged_and_seeded(make, model):
    translator, nc, seeds = make(model), torch.randn(2, 1, 16, 16), torch.tensor([3, 9])
    one = translator.translate(nc, seeds)
    assert worst(one, translator.translate(nc, seeds + 1)) > 1e-3
    second = 2 * translator.translate(nc, seeds, samples=2) - one
    assert worst(second, one) > 1e-3
    assert worst(one, translator.translate(nc, seeds, solver="ancestral")) > 1e-3
    assert worst(one, translator.translate(nc, seeds, steps=4)) > 1e-4
    with pytest.raises(ValueError, match="samples must be at least 1"):
        translator.translate(nc, samples=0)


def test_ddpm_is_its_sampler(make):
    translator, nc, seeds = make("ddpm"), torch.randn(2, 1, 16, 16), torch.tensor([3, 9])
    table = vp_table(translator.process, 3)
    with torch.no_grad():
        found = sample_diffusion(lambda x, t: translator.model(x, t, nc), (1, 16, 16), table, seeds=seeds)
    assert worst(found, translator.translate(nc, seeds)) < 1e-5


def test_palette_sees_the_condition_first_and_the_level(make):
    model = make("palette").model
    x, y, level = torch.randn(2, 1, 16, 16), torch.randn(2, 1, 16, 16), torch.tensor([0.3, 0.9])
    with torch.no_grad():
        found = model(x, level, y)
        assert torch.equal(found, model.denoise_fn(torch.cat([y, x], dim=1), level))
        assert worst(found, model(x, level / 2, y)) > 1e-6


@pytest.mark.parametrize("model", list(CONFIGS))
def test_neighbouring_slices_are_seen(make, model):
    kind = {"context_slices": 1} if CONFIGS[model]["network"]["kind"] == "folded_unet" else None
    translator = make(model, with_network(model, **(kind or {"in_channels": 4})))
    nc, beside = torch.randn(2, 1, 16, 16), torch.randn(2, 2, 16, 16)
    assert translator.context_mm == (-6.8, 6.8)
    found = translator.translate(nc, neighbours=beside)
    assert worst(found, translator.translate(nc)) > 1e-4
    assert torch.equal(translator.translate(nc), translator.translate(nc, neighbours=nc.expand(-1, 2, -1, -1)))


def test_colour_networks_see_copies_and_are_averaged(make):
    translator = make("palette", with_network("palette", in_channels=6, out_channels=3))
    nc, seeds = torch.randn(2, 1, 16, 16), torch.tensor([3, 9])
    table, colour = vp_table(translator.process, 3), nc.expand(-1, 3, -1, -1)
    denoiser = translator.denoiser(colour, table)
    with torch.no_grad():
        found = sample_diffusion(denoiser, (3, 16, 16), table, seeds=seeds)
    assert worst(found.mean(dim=1, keepdim=True), translator.translate(nc, seeds)) < 1e-5


def test_regression_adds_what_the_network_says(make):
    translator, nc = make("regression"), torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        expected = nc + translator.model.denoise_fn(nc, torch.zeros(2, dtype=torch.int64), context=nc)
    assert worst(translator.translate(nc), expected) < 1e-5


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("ddpm", {"process": {**GENTLE, "beta_end": 2.0}}),
        ("ddpm", {"process": {}, "clip": [1]}),
        ("ddpm", {"defaults": {}}),
        ("ddpm", {"network": {**UNET, "in_channels": 3}}),
        ("ddpm", {"fit": "stretch"}),
        ("palette", {"sampling": {"speed": 2}}),
        ("palette", {"network": {**UNET, "in_channels": 5, "out_channels": 2}}),
        ("regression", {"network": {**UNET, "in_channels": 3}}),
        ("regression", {"network": {**FOLDED, "out_channels": 2}}),
        ("regression", {"size": [16]}),
        ("ddpm", {"process": {**GENTLE, "objective": "speed"}}),
        ("palette", {"sampling": {**GENTLE, "objective": "velocity"}}),
        ("regression", {"fit": "resize", "size": [18, 18]}),
    ],
)
def test_wrong_descriptions_are_named(tmp_path, model, changes):
    path = tmp_path / "odd.safetensors"
    save_weights(path, {}, model, json.loads(json.dumps({**CONFIGS[model], **changes})), {})
    with pytest.raises(InputError, match=r"odd\.safetensors( cannot be used|: expected)") as caught:
        load(path, device="cpu")
    assert "\n" not in str(caught.value)


def test_fit_pads_and_returns():
    fit, images = Fit("pad", (16, 16), 4), torch.randn(2, 3, 13, 18)
    inside = fit.to_network(images)
    assert inside.shape == (2, 3, 16, 20)
    assert torch.equal(fit.from_network(inside, (13, 18)), images)
    assert float(inside.sum()) == pytest.approx(float(images.sum()) - 6 * (16 * 20 - 13 * 18), abs=1e-2)


def test_fit_resizes_and_returns():
    fit, smooth = Fit("resize", (32, 32), 4), torch.linspace(-1, 1, 16).expand(1, 1, 16, 16)
    inside = fit.to_network(smooth)
    assert inside.shape == (1, 1, 32, 32)
    back = fit.from_network(inside, (16, 16))
    assert worst(back[..., 1:-1], smooth[..., 1:-1]) < 1e-6
    assert torch.equal(Fit("resize", (16, 16)).to_network(smooth), smooth)
