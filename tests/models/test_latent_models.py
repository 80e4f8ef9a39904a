"""Latent bridges, CPDM and the first stage as translators."""

from __future__ import annotations

import pytest
import tiny_latent as tiny
import torch
from torch.nn import functional as F
from watched import Watched

from spectac_fast.errors import InputError
from spectac_fast.models.methods import lbbdm
from spectac_fast.models.registry import load
from spectac_fast.models.translator import Translator
from spectac_fast.reconstruct.maps import attention_from_nc, contour_from_nc, path_transmission

CONFIGS = {"lbbdm": tiny.LBBDM, "cpdm": tiny.CPDM, "vqgan": tiny.FIRST_STAGE}
CONTEXT = {
    **tiny.LBBDM,
    "network": {**tiny.NETWORK, "in_channels": 5},
    "rescaler": {"in_channels": 3, "out_channels": 2},
}


@pytest.fixture(params=CONFIGS)
def model(request, tmp_path):
    return load(tiny.weight_file(tmp_path, request.param, CONFIGS[request.param]), device="cpu")


def slices(count, size=16):
    return 2 * torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(count)) - 1


def test_translators_are_ones(model):
    assert isinstance(model, Translator)
    assert model.name in CONFIGS
    assert (model.gain, model.context_mm, model.card) == (1.7, (), {"seed": 5})


def test_batched_equals_one_by_one(model):
    """A code may only flip where two are equally near, which random weights do not make."""
    nc, seeds = slices(5), torch.tensor([3, 1, 4, 1, 5])
    together = model.translate(nc, seeds)
    alone = torch.cat([model.translate(nc[i : i + 1], seeds[i : i + 1]) for i in range(5)])
    assert together.shape == nc.shape
    assert float((together - alone).abs().max()) < 1e-5


@pytest.mark.parametrize("fit", ["pad", "resize"])
def test_any_size_fits(tmp_path, fit):
    for name, config in CONFIGS.items():
        model = load(tiny.weight_file(tmp_path, name, {**config, "fit": fit}), device="cpu")
        found = model.translate(slices(1, 11))
        assert found.shape == (1, 1, 11, 11)
        assert torch.isfinite(found).all()


def test_one_evaluation_is_the_network_at_the_start(tmp_path):
    model, nc = load(tiny.weight_file(tmp_path, "lbbdm", tiny.LBBDM), device="cpu"), slices(2)
    net = model.model
    with torch.no_grad():
        y = net.encode(nc, condition=True)
        expected = net.decode(y - net(y, torch.full((2,), 999), None))
    assert float((model.translate(nc, steps=1) - expected).abs().max()) < 1e-5


def test_published_sampler_is_the_codes_own(tmp_path):
    """Its step list, its first step and its eta: the closed form of the ancestral step, written out."""
    model, nc = load(tiny.weight_file(tmp_path, "lbbdm", tiny.LBBDM), device="cpu"), slices(2)
    net, m = model.model, model.model.bridge.m
    with torch.no_grad():
        x = net.encode(nc, condition=True)
        for t, after in ((999, 500), (500, 1), (1, 0)):
            x0 = x - net(x, torch.full((2,), t), None)
            x = x - (1 - m[after] / m[t]) * (x - x0)
        expected = net.decode(x - net(x, torch.zeros(2, dtype=torch.int64), None))
    found = model.translate(nc, steps=4, solver="published", order=1, eta=0.0)
    assert float((found - expected.float()).abs().max()) < 1e-4
    with pytest.raises(ValueError, match="3 <= steps"):
        model.translate(nc, steps=2, solver="published")


def test_the_first_stage_alone_is_its_round_trip(tmp_path):
    model = load(tiny.weight_file(tmp_path, "vqgan", tiny.FIRST_STAGE), device="cpu")
    nc = slices(2)
    with torch.no_grad():
        expected = model.model(nc)[0]
    assert float((model.translate(nc) - expected).abs().max()) < 1e-5
    bridge = lbbdm.model_of(tiny.LBBDM).eval()
    bridge.vqgan.load_state_dict(model.model.state_dict())
    assert float((bridge.round_trip(nc) - expected).abs().max()) < 1e-5


def test_neighbours_reach_the_conditioning_stage(tmp_path):
    model = load(tiny.weight_file(tmp_path, "lbbdm", CONTEXT), device="cpu")
    assert model.context_mm == (-6.8, 6.8)
    nc = slices(2)
    _, alone = model.model.start(torch.cat([nc, nc, nc], dim=1))
    _, beside = model.model.start(torch.cat([nc, slices(2) + 0.5, nc], dim=1))
    assert float((alone - beside).abs().max()) > 1e-3
    beside = slices(3)[:2].expand(2, 2, 16, 16)
    assert not torch.equal(model.translate(nc, steps=1), model.translate(nc, steps=1, neighbours=beside))


def test_normalised_latents(tmp_path):
    """Target and condition have statistics of their own, and decoding undoes the target's."""
    net = lbbdm.model_of({**tiny.LBBDM, "normalised": True}).eval()
    for name in lbbdm.STATISTICS:
        getattr(net, name).copy_(torch.rand(1, 3, 1, 1) + 0.5)
    plain = lbbdm.model_of(tiny.LBBDM).eval()
    plain.load_state_dict(net.state_dict(), strict=False)
    nc = slices(2)
    h = plain.encode(nc)
    assert torch.allclose(net.encode(nc), (h - net.ori_latent_mean) / net.ori_latent_std)
    assert torch.allclose(net.encode(nc, condition=True), (h - net.cond_latent_mean) / net.cond_latent_std)
    assert torch.allclose(net.before_codebook(net.encode(nc)), h, atol=1e-6)


def test_latents_before_the_quantising_convolution():
    network = {**tiny.NETWORK, "in_channels": 2, "out_channels": 2}
    net = lbbdm.model_of({**tiny.LBBDM, "before_quant_conv": True, "network": network}).eval()
    nc = slices(2)
    latent = net.encode(nc)
    assert latent.shape == (2, 2, 8, 8)
    with torch.no_grad():
        assert torch.equal(net.before_codebook(latent), net.vqgan.encode(nc))
        assert torch.equal(net.decode(latent), net.vqgan(nc)[0])


def cpdm_file(tmp_path, **changes):
    config = {**tiny.CPDM, **{k: v for k, v in changes.items() if k == "map_network"}}
    config["maps"] = {**tiny.CPDM["maps"], **{k: v for k, v in changes.items() if k != "map_network"}}
    return tiny.weight_file(tmp_path, "cpdm", config)


def test_given_maps_replace_the_made_ones(tmp_path):
    model, nc = load(cpdm_file(tmp_path), device="cpu"), slices(2)
    attention, attenuation = model.maps(nc)
    assert torch.equal(attention, attention_from_nc(nc))
    assert torch.allclose(attenuation, torch.exp(-0.13 * contour_from_nc(nc)))
    made = model.translate(nc, steps=1)
    given = model.translate(nc, steps=1, attention=0.9 * attention, attenuation=attenuation)
    assert float((made - given).abs().max()) < 1e-5
    for other in ({"attention": 1 - attention}, {"attenuation": 0.5 * attenuation}):
        with torch.no_grad():
            _, before = model.model.start(torch.cat([nc, attention, attenuation], dim=1))
            maps = {"attention": attention, "attenuation": attenuation, **other}
            _, after = model.model.start(torch.cat([nc, *maps.values()], dim=1))
        assert float((before - after).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="attenuation must be float32"):
        model.translate(nc, attenuation=torch.ones(2, 1, 8, 8))


def test_padding_holds_no_attention_and_no_attenuation(tmp_path):
    model, nc = load(cpdm_file(tmp_path), device="cpu"), slices(1, 10)
    watched = Watched(model)
    maps = {"attention": torch.ones(1, 1, 10, 10), "attenuation": torch.full((1, 1, 10, 10), 0.8)}
    model.translate(nc, steps=1, **maps)
    padded = F.pad(maps["attention"], (3, 3, 3, 3)), F.pad(maps["attenuation"], (3, 3, 3, 3), value=1.0)
    with torch.no_grad():
        expected = model.model.context(*padded)
    assert float((watched.contexts[0][:1] - expected).abs().max()) < 1e-6


def test_maps_of_every_source(tmp_path):
    nc = slices(2)
    ones = load(cpdm_file(tmp_path, attention="ones", attenuation="ones"), device="cpu").maps(nc)
    assert all(torch.equal(value, torch.ones_like(nc)) for value in ones)
    path = load(cpdm_file(tmp_path, kind="path"), device="cpu").maps(nc)[1]
    assert torch.equal(path, path_transmission(0.13 * contour_from_nc(nc), 6.8))
    network = {**tiny.NETWORK, "in_channels": 1, "out_channels": 2}
    model = load(cpdm_file(tmp_path, attention="network", attenuation="network", map_network=network), device="cpu")
    attention, attenuation = model.maps(slices(2, 11))
    assert set(attention.unique().tolist()) <= {0.0, 1.0}
    assert attenuation.shape == (2, 1, 11, 11)
    assert float(attenuation.min()) > 0
    assert float(attenuation.max()) < 1


@pytest.mark.parametrize("change", [{"attention": "ct"}, {"kind": "log"}, {"attenuation": "network"}, {"mu": "much"}])
def test_odd_maps_are_named(tmp_path, change):
    with pytest.raises(InputError, match=r"cpdm\.safetensors"):
        load(cpdm_file(tmp_path, **change), device="cpu")
