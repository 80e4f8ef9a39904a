"""CPDM and its maps against a recorded run of the published implementation."""

from __future__ import annotations

import pytest
import torch
from golden_bridge import GoldenBridge, needs_golden

from spectac_fast.reconstruct.maps import attenuation_of_ct

pytestmark = needs_golden


@pytest.fixture(scope="module")
def golden():
    return GoldenBridge("cpdm")


def test_maps_and_context(golden):
    io = golden.io
    assert float((attenuation_of_ct(io["y"]) - io["attenuation_map"]).abs().max()) < 1e-6
    with torch.no_grad():
        context = golden.model.context(io["att_map"], io["attenuation_map"])
    assert float((context - io["context"]).abs().max()) < 1e-4


def test_start_takes_slices_in_model_units(golden):
    """The published condition lies in [0, 1]; ours in [-1, 1]."""
    io = golden.io
    with torch.no_grad():
        end, context = golden.model.start(torch.cat([2 * io["y"] - 1, io["att_map"], io["attenuation_map"]], dim=1))
    assert float((end - io["y_latent"]).abs().max()) < 1e-4
    assert float((context - io["context"]).abs().max()) < 1e-4


def test_latents_and_reconstruction(golden):
    io, model = golden.io, golden.model
    assert float((model.encode(io["x"]) - io["x_latent"]).abs().max()) < 1e-4
    assert float((model.decode(io["x_latent"]) - io["recon"]).abs().max()) < 1e-4


def test_unet_outputs_and_blocks(golden):
    golden.check_unet()


def test_schedule_and_steps(golden):
    golden.check_schedule()


def test_sampling_path(golden):
    golden.check_sampling(golden.io["context"], 1e-4)


def test_decoded_sample_and_its_codes(golden):
    golden.check_decoder()


def test_training_loss_and_gradients(golden):
    golden.check_training(golden.model.context(golden.io["att_map"], golden.io["attenuation_map"]))
