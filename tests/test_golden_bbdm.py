"""The bridge, its UNet, sampler and training loss against recorded runs of the published implementation (BBDM)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from spectac_fast.checkpoints.published import load_published_bbdm
from spectac_fast.diffusion.bridge import BrownianBridge, reference_steps
from spectac_fast.diffusion.sampler import sample_bridge
from spectac_fast.diffusion.solvers import solver_table

ROOT = Path(os.environ.get("SPECTAC_GOLDEN", Path(__file__).parents[1] / "../shared/golden"))
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="no golden data: set SPECTAC_GOLDEN to its folder")

VARIANTS = ("bbdm", "bbdm_eta0", "bbdm_noise", "bbdm_ysubx")
SAMPLER_TOLERANCE = {"bbdm": 1e-4, "bbdm_eta0": 1e-4, "bbdm_noise": 1e-2, "bbdm_ysubx": 1e-4}


def relative(found, expected):
    """Largest difference as a share of the largest expected value; NaN compares as infinitely wrong."""
    difference = (found - expected).abs().max() / expected.abs().max()
    return float(difference) if torch.isfinite(difference) else float("inf")


class Golden:
    def __init__(self, variant):
        self.folder = ROOT / variant
        self.config = json.loads((self.folder / "config.json").read_text())
        self.io = load_file(self.folder / "io.safetensors")
        state = load_file(self.folder / self.config["state_dict"] / "state_dict.safetensors")
        # One variant stores only the schedule it changes; its weights are another variant's.
        state.update({k: v for k, v in load_file(self.folder / "schedule.safetensors").items() if k in state})
        self.model = load_published_bbdm(state, self.config["model"]).eval()
        self.bridge = self.model.bridge

    def shared(self, name):
        return load_file(self.folder / self.config[name] / f"{name}.safetensors")

    def table(self):
        return solver_table(
            self.bridge,
            self.config["sample_step"],
            solver="ancestral",
            eta=self.config["eta"],
            eta_mode="bbdm",
            spacing="reference",
            boot=False,
        )


@pytest.fixture(scope="module", params=VARIANTS)
def golden(request):
    return Golden(request.param)


@pytest.fixture(scope="module")
def bbdm():
    return Golden("bbdm")


def test_unet_outputs(bbdm):
    stored = bbdm.shared("unet")
    for name in [k for k in stored if k.startswith("out.")]:
        t = torch.full((len(stored["x"]),), int(name.removeprefix("out.")))
        with torch.no_grad():
            found = bbdm.model.denoise_fn(stored["x"], t, context=stored["context"])
        assert relative(found, stored[name]) < 1e-5


def test_unet_blocks(bbdm):
    stored = bbdm.shared("unet")
    net, seen = bbdm.model.denoise_fn, {}
    blocks = {f"input_blocks.{i}": b for i, b in enumerate(net.input_blocks)}
    blocks |= {f"output_blocks.{i}": b for i, b in enumerate(net.output_blocks)} | {"middle_block": net.middle_block}
    hooks = [
        block.register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, out))
        for name, block in blocks.items()
    ]
    with torch.no_grad():
        net(stored["x"], torch.zeros(len(stored["x"]), dtype=torch.long), context=stored["context"])
    for hook in hooks:
        hook.remove()
    expected = {k.removeprefix("block_acts_t0."): v for k, v in stored.items() if k.startswith("block_acts_t0.")}
    assert expected.keys() == seen.keys()
    for name, value in expected.items():
        assert relative(seen[name], value) < 1e-5, name


def test_schedule_buffers(golden):
    stored = load_file(golden.folder / "schedule.safetensors")
    for name, buffer in golden.bridge.buffers().items():
        assert float((buffer - stored[name]).abs().max()) <= 1e-6, name
    assert list(golden.table().t) == stored["steps"].tolist()


@pytest.mark.parametrize("schedule", ["linear_T500_s1", "linear_T1000_s0.05", "sin_T1000_s1", "sin_T500_s1"])
def test_other_schedules(schedule):
    config = json.loads((ROOT / "schedules" / "config.json").read_text())["schedules"][schedule]
    stored = load_file(ROOT / "schedules" / "schedule.safetensors")
    bridge = BrownianBridge(config["num_timesteps"], max_var=config["max_var"], schedule=config["mt_type"])
    for name, buffer in bridge.buffers().items():
        assert float((buffer - stored[f"{schedule}.{name}"]).abs().max()) <= 1e-6, name


def test_step_lists():
    for name, expected in json.loads((ROOT / "schedules" / "step_lists.json").read_text()).items():
        total, steps = (int(part[1:]) for part in name.split("_"))
        assert reference_steps(total, steps) == expected, name


def test_sampling_path(golden):
    """The whole trajectory with the recorded noise, every state and every prediction."""
    states, predictions = [], []

    def keep(info):
        states.append(info["x"].clone())
        predictions.append(info["denoised"].clone())

    table, io = golden.table(), golden.io
    noise = io["noises"][list(table.noise_rows)]
    final = sample_bridge(golden.model, io["y_latent"], table, noise=noise if len(noise) else None, callback=keep)
    tolerance = SAMPLER_TOLERANCE[golden.folder.name]
    for found, expected in (
        (torch.stack(states), io["x_path"][:-1]),
        (torch.stack(predictions), io["x0_path"]),
        (final, io["final"]),
    ):
        assert float((found - expected).abs().max()) < tolerance


def test_training_loss_and_gradients(bbdm):
    golden, stored = bbdm, bbdm.shared("train")
    io, bridge = golden.io, golden.bridge
    y, t, noise = io["y_latent"], stored["t"], stored["noise"]
    x_t, target = bridge.noised(stored["x0"], y, t, noise=noise)
    assert relative(x_t, stored["x_t"]) < 1e-5
    assert relative(target, stored["objective"]) < 1e-5
    golden.model.zero_grad()
    output = golden.model(x_t, t, y)
    loss = (target - output).abs().mean()
    loss.backward()
    assert relative(loss.detach(), stored["loss"]) < 1e-5
    assert relative(bridge.x0_from(output, x_t, y, t).detach(), stored["x0_recon"]) < 1e-5
    parameters = dict(golden.model.named_parameters())
    for name in golden.config["train_grads"]:
        key = next(k for k in stored if k.startswith("grads") and k.endswith(name.removeprefix("denoise_fn.")))
        assert relative(parameters[name].grad, stored[key]) < 1e-5, name


def test_published_checkpoint_prefers_the_average(bbdm):
    path = bbdm.folder / bbdm.config["checkpoint"]
    raw = load_published_bbdm(path, bbdm.config["model"], use_ema=False)
    average = load_published_bbdm(path, bbdm.config["model"])
    for (name, a), (_, b) in zip(raw.denoise_fn.named_parameters(), average.denoise_fn.named_parameters()):
        assert torch.allclose(b, 0.999 * a, rtol=1e-6, atol=0), name
        assert np.array_equal(a.detach().numpy(), bbdm.model.denoise_fn.get_parameter(name).detach().numpy())
