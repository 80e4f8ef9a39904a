"""The pixel bridge, its UNet, sampler and training loss against recorded runs of the published code (BBDM)."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from golden_bridge import GoldenBridge, needs_golden
from places import GOLDEN
from safetensors.torch import load_file

from spectac_fast.checkpoints import layouts
from spectac_fast.checkpoints.pickles import read_checkpoint
from spectac_fast.diffusion.bridge import BrownianBridge, reference_steps
from spectac_fast.models.published import read_published

pytestmark = needs_golden

VARIANTS = ("bbdm", "bbdm_eta0", "bbdm_noise", "bbdm_ysubx")


@pytest.fixture(scope="module", params=VARIANTS)
def golden(request):
    return GoldenBridge(request.param)


@pytest.fixture(scope="module")
def bbdm():
    return GoldenBridge("bbdm")


def test_unet_outputs_and_blocks(bbdm):
    bbdm.check_unet()


def test_schedule_and_steps(golden):
    golden.check_schedule()


@pytest.mark.parametrize("schedule", ["linear_T500_s1", "linear_T1000_s0.05", "sin_T1000_s1", "sin_T500_s1"])
def test_other_schedules(schedule):
    config = json.loads((GOLDEN / "schedules" / "config.json").read_text())["schedules"][schedule]
    stored = load_file(GOLDEN / "schedules" / "schedule.safetensors")
    bridge = BrownianBridge(config["num_timesteps"], max_var=config["max_var"], schedule=config["mt_type"])
    for name, buffer in bridge.buffers().items():
        assert float((buffer - stored[f"{schedule}.{name}"]).abs().max()) <= 1e-6, name


def test_step_lists():
    for name, expected in json.loads((GOLDEN / "schedules" / "step_lists.json").read_text()).items():
        total, steps = (int(part[1:]) for part in name.split("_"))
        assert reference_steps(total, steps) == expected, name


def test_sampling_path(golden):
    golden.check_sampling(golden.io["y_latent"], 1e-2 if golden.folder.name == "bbdm_noise" else 1e-4)


def test_training_loss_and_gradients(bbdm):
    bbdm.check_training(bbdm.io["y_latent"])


def test_published_checkpoint_prefers_the_average(bbdm):
    content = read_checkpoint(bbdm.folder / bbdm.config["checkpoint"])
    read = partial(read_published, "bbdm")
    state, averaged = layouts.flat_state(content, None, "checkpoint")
    raw, not_averaged = layouts.flat_state(content, False, "checkpoint")
    assert (averaged, not_averaged) == (True, False)
    average, raw = read(state, "checkpoint").tensors, read(raw, "checkpoint").tensors
    own = bbdm.model.state_dict()
    for name, value in raw.items():
        assert torch.equal(value, own[name]), name
        assert torch.allclose(average[name], 0.999 * value, rtol=1e-6, atol=0), name
