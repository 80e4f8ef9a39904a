"""Palette's network, its levels and its sampler against a recorded run of the published implementation."""

from __future__ import annotations

import json

import pytest
import torch
from places import GOLDEN, KEYS
from safetensors.torch import load_file

from spectac_fast.checkpoints.layouts import palette
from spectac_fast.checkpoints.weights import fill, save_weights
from spectac_fast.diffusion.sampler import sample_diffusion
from spectac_fast.diffusion.vp import VPProcess
from spectac_fast.diffusion.vp_solvers import vp_table
from spectac_fast.models.methods.palette import Palette
from spectac_fast.models.networks.build import build_network
from spectac_fast.models.published import read_published
from spectac_fast.models.registry import load

ROOT = GOLDEN / "palette_unet"
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="no golden data: set SPECTAC_GOLDEN to its folder")

REQUIRED = 1e-4
DATA = {"pixel_mm": 6.8, "slice_mm": 6.8, "gain": 3.0}


@pytest.fixture(scope="module")
def state():
    return load_file(ROOT / "state_dict.safetensors")


@pytest.fixture(scope="module")
def io():
    return load_file(ROOT / "io.safetensors")


@pytest.fixture(scope="module")
def imported(state):
    return read_published("palette", state, "the golden state dict")


@pytest.fixture(scope="module")
def model(imported):
    built = Palette(build_network(imported.config["network"]))
    fill(built, imported.tensors, "the golden state dict")
    return built.eval().requires_grad_(False)


def worst(found, expected):
    difference = (found - expected).abs().max()
    return float(difference) if torch.isfinite(difference) else float("inf")


def test_configuration_is_read_off_the_file(imported):
    published = json.loads((ROOT / "config.json").read_text())["constructor"]
    unet, schedule = published["unet"], published["beta_schedule_test"]
    network = imported.config["network"]
    assert network["in_channels"] == unet["in_channel"]
    assert network["out_channels"] == unet["out_channel"]
    assert network["model_channels"] == unet["inner_channel"]
    assert network["channel_mult"] == unet["channel_mults"]
    assert network["num_res_blocks"] == unet["res_blocks"]
    assert network["num_head_channels"] == unet["num_head_channels"]
    assert network["attention_resolutions"] == []
    assert imported.config["training"] == {
        "num_timesteps": schedule["n_timestep"],
        "schedule": schedule["schedule"],
        "beta_start": schedule["linear_start"],
        "beta_end": schedule["linear_end"],
        "objective": "noise",
    }


def test_schedule_buffers(imported, state):
    for name, buffer in VPProcess(**imported.config["training"]).buffers().items():
        assert worst(buffer, state[name]) <= 1e-5 * float(state[name].abs().max()), name


def test_predicted_noise(model, io):
    condition, noisy = io["x"].split(1, dim=1)
    assert worst(model(noisy, io["gamma"], condition), io["noise_hat"]) < REQUIRED / 10


def test_sampling_path(model, io, imported):
    """Every state of the recorded run."""
    process = VPProcess(**imported.config["training"])
    table = vp_table(process, process.num_timesteps, solver="ancestral", clip=(-1.0, 1.0))
    states = []
    final = sample_diffusion(
        lambda x, t: model(x, process.levels(t), io["y_cond"]),
        io["y_T"].shape[1:],
        table,
        seeds=torch.arange(2),
        start=io["y_T"],
        noise=io["noises"][:-1],
        callback=lambda info: states.append(info["x"].clone()),
    )
    assert worst(torch.stack([*states, final]), io["path"]) < REQUIRED / 5
    assert worst(final, io["final"]) < REQUIRED / 5


def test_translator_samples_with_the_sampling_schedule(tmp_path, imported, model, io):
    """Batched equals one by one, and equals the sampler called by hand."""
    path = tmp_path / "palette.safetensors"
    # From a start that is all noise, the first prediction multiplies the network's rounding by 1 / sqrt(level).
    gentle = {"num_timesteps": 20, "schedule": "linear", "beta_start": 1e-4, "beta_end": 0.1}
    config = {**imported.config, **DATA, "size": [16, 16], "sampling": gentle}
    config["defaults"] = {**config["defaults"], "steps": 3}
    save_weights(path, imported.tensors, imported.model, config, {})
    translator, nc, seeds = load(path, device="cpu"), io["y_cond"].repeat(2, 1, 1, 1)[:3], torch.tensor([5, 6, 7])
    together = translator.translate(nc, seeds)
    alone = torch.cat([translator.translate(nc[i : i + 1], seeds[i : i + 1]) for i in range(3)])
    assert worst(together, alone) < 1e-5
    process = VPProcess(**config["sampling"])
    table = vp_table(process, 3, solver="ancestral", clip=(-1.0, 1.0))
    by_hand = sample_diffusion(lambda x, t: model(x, process.levels(t), nc), nc.shape[1:], table, seeds=seeds)
    assert worst(together, by_hand) < 1e-5
    assert worst(translator.translate(nc, seeds, solver="ddim", eta=0.0), together) > 1e-2


def test_round_trip_to_the_published_names(imported, state):
    written = palette.write(imported.tensors, imported.config)
    assert written.keys() == state.keys()
    for name, value in state.items():
        assert worst(written[name], value) <= 1e-5 * float(value.abs().max()), name
    again = read_published("palette", written, "the export")
    assert again.config == imported.config


@pytest.mark.skipif(not KEYS.is_dir(), reason="needs the published key lists in ../shared/reference/keys")
@pytest.mark.parametrize("name", ["palette_unet_2to1", "palette_unet_6to3"])
def test_published_names_and_shapes(name):
    shapes = {key: value[0] for key, value in json.loads((KEYS / f"{name}.json").read_text())["keys"].items()}
    with torch.device("meta"):
        found = read_published("palette", {key: torch.empty(shape) for key, shape in shapes.items()}, "the key list")
        own = Palette(build_network(found.config["network"])).state_dict()
    assert {key: list(value.shape) for key, value in own.items()} == shapes
    assert found.config["network"]["channel_mult"] == [1, 2, 4, 8]
    assert found.config["training"]["num_timesteps"] == 2000
