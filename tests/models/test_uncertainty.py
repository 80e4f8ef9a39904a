"""The spread of a model's samples: what it is equal to, what becomes of it, and which models have none."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tiny_latent import CPDM, LBBDM, weight_file

from spectac_fast import load, translate_with_std
from spectac_fast.checkpoints.weights import save_weights
from spectac_fast.errors import InputError, UsageError
from spectac_fast.models.networks.build import build_network
from spectac_fast.models.uncertainty import Calibration, calibration_file, calibration_of

DDPM = {
    "network": {
        "kind": "folded_unet", "model_channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1,
        "attention_resolutions": [], "num_head_channels": 8, "head_channels": 2, "norm_groups": 4,
    },
    "process": {"num_timesteps": 20, "schedule": "linear", "beta_start": 1e-4, "beta_end": 0.1},
    "defaults": {"steps": 3, "samples": 1, "solver": "ddim", "eta": 0.0},
    "clip": None, "gain": 1.7, "pixel_mm": 6.8, "slice_mm": 6.8, "size": [16, 16],
}  # fmt: skip


def ddpm(folder):
    torch.manual_seed(1)
    tensors = {
        f"denoise_fn.{k}": 0.1 * torch.randn(v.shape) for k, v in build_network(DDPM["network"]).state_dict().items()
    }
    save_weights(folder / "ddpm.safetensors", tensors, "ddpm", DDPM, {})
    return folder / "ddpm.safetensors"


MODELS = {
    "bbdm": lambda folder: "bbdm",
    "lbbdm": lambda folder: weight_file(folder, "lbbdm", LBBDM),
    "cpdm": lambda folder: weight_file(folder, "cpdm", CPDM),
    "ddpm": ddpm,
}


@pytest.fixture
def slices(request):
    draw = torch.Generator().manual_seed(sum(map(ord, request.node.name)))
    return torch.rand(3, 1, 16, 16, generator=draw) * 2 - 1, torch.randint(2**62, (3,), generator=draw)


@pytest.mark.parametrize("model", MODELS)
def test_moments_are_those_of_the_samples_that_are_averaged(tmp_path, slices, model):
    translator = load(MODELS[model](tmp_path), device="cpu")
    means = [translator.translate(*slices, samples=k).double() for k in range(1, 6)]
    # The k-th sample is what it adds to the sum of those before it.
    samples = torch.stack([means[0], *((k + 1) * means[k] - k * means[k - 1] for k in range(1, 5))])
    mean, std = translator.moments(*slices, samples=5)
    assert torch.equal(mean, translator.translate(*slices, samples=5))
    scale = samples.abs().max()
    torch.testing.assert_close(std.double(), samples.std(dim=0), rtol=1e-4, atol=2e-5 * float(scale))
    assert std.max() > 1e-3 * scale


@pytest.mark.parametrize("options", [{}, {"steps": 1}, {"samples": 4}, {"steps": 3, "samples": 1}, {"samples": 2}])
def test_asking_for_the_deviation_changes_no_bit_of_the_image(slices, options):
    translator = load("bbdm", device="cpu")
    translator.calibration = Calibration(1.5, 0.02, measured=True)
    image, std = translate_with_std(translator, *slices, std_samples=4, **options)
    assert torch.equal(image, translator.translate(*slices, **options))
    drawing = {"steps": 3} if options.get("steps") == 3 else {}
    _, spread = translator.moments(*slices, samples=4, **drawing)
    expected = np.hypot(1.5 * spread.numpy().astype(np.float64), 0.02)
    np.testing.assert_allclose(std.numpy(), expected, rtol=1e-5)


def test_deviations_do_not_depend_on_the_batch(slices):
    translator = load("bbdm", device="cpu")
    nc, seeds = slices
    _, together = translator.moments(nc, seeds, samples=6)
    for k in range(3):
        _, alone = translator.moments(nc[k : k + 1], seeds[k : k + 1], samples=6)
        torch.testing.assert_close(alone[0], together[k], rtol=0, atol=1e-5)


def test_who_draws_no_samples_says_so(slices):
    with pytest.raises(UsageError, match=r"expected a model that draws samples.*linear gives one image"):
        translate_with_std(load("linear", device="cpu"), *slices)
    bbdm = load("bbdm", device="cpu")
    with pytest.raises(ValueError, match="1 steps draw no noise"):
        bbdm.moments(*slices, samples=4, steps=1)
    with pytest.raises(ValueError, match="at least 2, found 1"):
        bbdm.moments(*slices, samples=1)


def test_a_calibration_belongs_to_its_weights(tmp_path):
    weights = ddpm(tmp_path)
    assert calibration_of(load(weights, device="cpu")) == Calibration()
    sha = load(weights, device="cpu").weights_sha256
    content = {"format": 1, "weights_sha256": sha, "temperature": 1.25, "floor": 0.01}
    calibration_file(weights).write_text(json.dumps(content))
    assert calibration_of(load(weights, device="cpu")) == Calibration(1.25, 0.01, measured=True)
    calibration_file(weights).write_text(json.dumps({**content, "weights_sha256": "of others"}))
    assert calibration_of(load(weights, device="cpu")) == Calibration()


@pytest.mark.parametrize("change", [{"format": 2}, {"temperature": 0.0}, {"floor": -1.0}, {"floor": "wide"}])
def test_a_damaged_calibration_is_refused(tmp_path, change):
    weights = ddpm(tmp_path)
    content = {"format": 1, "weights_sha256": "", "temperature": 1.25, "floor": 0.01}
    calibration_file(weights).write_text(json.dumps({**content, **change}))
    with pytest.raises(InputError, match=r"ddpm\.uncertainty\.json: expected a calibration"):
        load(weights, device="cpu")
