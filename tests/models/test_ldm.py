"""Latent diffusion: the translator, the published sampler and the published files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from places import KEYS
from tiny_ldm import CONFIG, PROCESS, RESCALED, WIDE, tensors, weight_file
from watched import Watched

from spectac_fast.checkpoints import layouts
from spectac_fast.checkpoints.weights import load_weights
from spectac_fast.cli import main
from spectac_fast.diffusion.vp import LDM_PROCESS
from spectac_fast.errors import InputError
from spectac_fast.models.methods import ldm
from spectac_fast.models.published import read_published
from spectac_fast.models.registry import load
from spectac_fast.models.translator import Translator

needs_keys = pytest.mark.skipif(not KEYS.is_dir(), reason="needs the published key lists in ../shared/reference/keys")


def slices(count, size=16):
    return 2 * torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(count)) - 1


def test_translator_is_one_and_batches_do_not_matter(tmp_path):
    model = load(weight_file(tmp_path, CONFIG), device="cpu")
    assert isinstance(model, Translator)
    assert (model.name, model.context_mm) == ("ldm", ())
    nc, seeds = slices(5), torch.tensor([3, 1, 4, 1, 5])
    together = model.translate(nc, seeds, eta=1.0, order=2)
    alone = torch.cat([model.translate(nc[i : i + 1], seeds[i : i + 1], eta=1.0) for i in range(5)])
    assert float((together - alone).abs().max()) < 1e-5
    assert model.translate(slices(1, 11)).shape == (1, 1, 11, 11)


def test_neighbours_reach_the_conditioning_stage(tmp_path):
    model = load(weight_file(tmp_path, RESCALED), device="cpu")
    assert model.context_mm == (-6.8, 6.8)
    nc = slices(2)
    beside = model.model.context(torch.cat([nc, nc, nc + 1], dim=1)) - model.model.context(nc.expand(-1, 3, -1, -1))
    assert float(beside.abs().max()) > 1e-3


def test_results_are_cut_where_asked_and_samples_averaged(tmp_path):
    nc = slices(2)
    loose = load(weight_file(tmp_path, CONFIG), device="cpu")
    found = loose.translate(nc, samples=1)
    assert float(found.abs().max()) > 1
    cut = load(weight_file(tmp_path, {**CONFIG, "clamp": True}), device="cpu")
    assert torch.equal(cut.translate(nc), found.clamp(-1, 1))
    second = 2 * loose.translate(nc, samples=2) - found
    assert float((second - found).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="samples must be at least 1"):
        loose.translate(nc, samples=0)


@pytest.mark.parametrize(("steps", "expected"), [
    (4, [751, 501, 251, 1]),
    (7, [995, 853, 711, 569, 427, 285, 143, 1]),
])  # fmt: skip
def test_published_sampler_written_out(tmp_path, steps, expected):
    """Timesteps range(0, T, T // S) + 1, the level after the last one being that of timestep 0; then decoding."""
    model, nc = load(weight_file(tmp_path, CONFIG), device="cpu"), slices(2)
    watched, net, level = Watched(model), model.model, LDM_PROCESS.level.astype(np.float32)
    found = model.translate(nc, steps=steps, solver="published", eta=0.0)
    assert [t for _, t in watched.steps] == expected
    z = watched.steps[0][0][:2]
    after = [*expected[1:], 0]
    with torch.no_grad():
        context = net.context(nc)
        for t, n in zip(expected, after):
            noise = net(z, torch.full((2,), t), context)
            x0 = (z - np.sqrt(1 - level[t]) * noise) / np.sqrt(level[t])
            z = np.sqrt(level[n]) * x0 + np.sqrt(1 - level[n]) * noise
        expected_slices = net.decode(z)
    assert float((found - expected_slices).abs().max()) < 1e-4 * float(expected_slices.abs().max())


def test_the_published_list_without_a_last_timestep_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no 3 steps"):
        load(weight_file(tmp_path, CONFIG), device="cpu").translate(slices(1), steps=3)


def test_latents_are_scaled_for_the_target_only(tmp_path):
    net = ldm.model_of(CONFIG).eval()
    nc = slices(2)
    plain, context, decoded = net.encode(nc), net.context(nc), net.decode(net.encode(nc))
    net.scale_factor.fill_(0.5)
    assert torch.allclose(net.encode(nc), 0.5 * plain)
    assert torch.equal(net.context(nc), context)
    assert torch.allclose(net.decode(net.encode(nc)), decoded, atol=1e-5)


def lightning(config, raw=1.0):
    """A published file: raw weights, the average beside them, and the condition's stage as a copy of the first."""
    written = layouts.layout("ldm").write(tensors(config), config)["state_dict"]
    content = {k: raw * v if k.startswith("model.diffusion_model.") else v for k, v in written.items()}
    first = {k: v for k, v in written.items() if k.startswith("first_stage_model.")}
    content |= {k.replace("first_stage_model.", "cond_stage_model."): v for k, v in first.items()}
    return {"state_dict": content, "global_step": 7}


def test_the_file_goes_round_and_the_average_is_chosen(tmp_path):
    torch.save(lightning(WIDE, raw=2.0), tmp_path / "published.ckpt")
    common = ["--layout", "ldm", "--size", "16", "16"]
    for flags, name in (([], "average"), (["--no-ema"], "raw")):
        out = str(tmp_path / f"{name}.safetensors")
        assert main(["import", str(tmp_path / "published.ckpt"), *common, *flags, "-o", out]) == 0
    average, header = load_weights(tmp_path / "average.safetensors")
    raw, _ = load_weights(tmp_path / "raw.safetensors")
    expected = tensors(WIDE)
    assert average.keys() == expected.keys()
    assert header["config"]["process"] == {**PROCESS, "objective": "noise"}
    assert header["config"]["network"] == {**WIDE["network"], "use_new_attention_order": False}
    for name, value in expected.items():
        assert torch.equal(average[name], value), name
        assert torch.equal(raw[name], 2.0 * value if name.startswith("model.") else value), name
    back = str(tmp_path / "back.pth")
    assert main(["export", str(tmp_path / "average.safetensors"), "--layout", "ldm", "-o", back]) == 0
    # What the published module loads strictly: every name of the file it wrote, and no other.
    assert torch.load(back)["state_dict"].keys() == lightning(WIDE)["state_dict"].keys()
    again = read_published("ldm", layouts.flat_state(torch.load(back), None, "back")[0], "back")
    assert all(torch.equal(again.tensors[k], v) for k, v in average.items())
    assert load(tmp_path / "average.safetensors", device="cpu").translate(slices(1), steps=2).shape == (1, 1, 16, 16)


def test_what_does_not_fit_is_named():
    state, _ = layouts.flat_state(lightning(WIDE), None, "file")

    def refused(words, **changes):
        changed = {k: v for k, v in {**state, **changes}.items() if v is not None}
        with pytest.raises(InputError, match=words) as caught:
            read_published("ldm", changed, "file")
        assert str(caught.value).startswith("file ")

    refused("betas", betas=None)
    refused("no scaled_linear, linear, cosine, sqrt schedule of 1000 steps", alphas_cumprod=torch.rand(1000))
    refused("posterior", posterior_variance=None)
    refused("more", more=torch.zeros(2))
    refused("neither of a rescaler", **{"cond_stage_model.conv.weight": torch.zeros(2)})
    refused("out.2.bias", **{"model.diffusion_model.out.2.bias": torch.zeros(8)})
    refused("must take", **{"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 7, 3, 3)})


@needs_keys
def test_published_names():
    """The UNet and first stage of the published f4 files, and no other names."""
    unet = json.loads((KEYS / "ldm_unet_f4_concat_6to3.json").read_text())["keys"]
    first = json.loads((KEYS / "ldm_vq_f4_c3.json").read_text())["keys"]
    listed = {**unet, **{f"first_stage_model.{k}": v for k, v in first.items()}}
    state = {k: torch.empty(shape, device="meta") for k, (shape, _) in listed.items()}
    mapper = {"cond_stage_model.channel_mapper.weight": torch.zeros(3, 182, 1, 1)}
    schedule = {k: v for k, v in lightning(WIDE)["state_dict"].items() if v.shape == (1000,)}
    found = read_published("ldm", {**state, **mapper, **schedule}, "file")
    assert found.tensors.keys() == state.keys() | mapper.keys()
    assert found.config["scale_factor"] == 1.0
    assert "scale_factor" in found.assumed
    network = found.config["network"]
    assert (network["channel_mult"], network["attention_resolutions"], network["num_heads"]) == ([1, 4, 8], [], 8)
    written = layouts.layout("ldm").write(found.tensors, found.config)["state_dict"]
    assert state.keys() | schedule.keys() <= written.keys()
    assert "model_ema.diffusion_modelinput_blocks00weight" in written
