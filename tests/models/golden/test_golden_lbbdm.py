"""Latent bridges, without context and with a rescaled image, against recorded runs of the published code (BBDM)."""

from __future__ import annotations

import pytest
import torch
from golden_bridge import GoldenBridge, needs_golden

from spectac_fast.checkpoints import layouts
from spectac_fast.checkpoints.pickles import read_checkpoint
from spectac_fast.models.published import read_published

pytestmark = needs_golden


@pytest.fixture(scope="module", params=["lbbdm", "lbbdm_rescaler"])
def golden(request):
    return GoldenBridge(request.param)


def context(golden):
    stage = golden.model.cond_stage_model
    return None if stage is None else stage(golden.io["y"])


def test_the_importer_reads_the_published_sizes(golden):
    published = golden.config["model"]
    dd = published["VQGAN"]["params"]["ddconfig"]
    assert [i for i in range(3) if dd["resolution"] >> i in dd["attn_resolutions"]] == [
        i for i, level in enumerate(golden.model.vqgan.encoder.down) if len(level.attn)
    ]
    assert (golden.model.cond_stage_model is None) == (golden.folder.name == "lbbdm")
    assert golden.model.multiple == 4 * 2


def test_latents_context_and_reconstruction(golden):
    io, model = golden.io, golden.model
    with torch.no_grad():
        found = {
            "y_latent": model.encode(io["y"], condition=True),
            "x_latent": model.encode(io["x"]),
            "recon": model.decode(model.encode(io["x"])),
        }
        if "context" in io:
            found["context"] = context(golden)
    for name, value in found.items():
        assert float((value - io[name]).abs().max()) < 1e-4, name


def test_unet_outputs_and_blocks(golden):
    golden.check_unet()


def test_schedule_and_steps(golden):
    golden.check_schedule()


def test_sampling_path(golden):
    golden.check_sampling(golden.io.get("context"), 1e-4)


def test_decoded_sample_and_its_codes(golden):
    golden.check_decoder()


def test_training_loss_and_gradients(golden):
    golden.check_training(context(golden))


def test_training_leaves_the_first_stage_alone(golden):
    """Gradients reach the network and the conditioning stage only."""
    golden.model.zero_grad()
    x = golden.io["x_latent"]
    golden.model(x, torch.tensor([5, 900]), context(golden)).square().mean().backward()
    moved = {name.split(".")[0] for name, value in golden.model.named_parameters() if value.grad is not None}
    assert moved == {"denoise_fn"} | ({"cond_stage_model"} if golden.folder.name == "lbbdm_rescaler" else set())


def test_published_checkpoint_prefers_the_average():
    golden = GoldenBridge("lbbdm")
    content = read_checkpoint(golden.folder / golden.config["checkpoint"])
    own = golden.model.state_dict()
    state, averaged = layouts.flat_state(content, None, "checkpoint")
    assert averaged
    for name, value in read_published("bbdm", state, "checkpoint").tensors.items():
        factor = 0.999 if name.startswith("denoise_fn.") else 1.0
        assert torch.allclose(value, factor * own[name], rtol=1e-6, atol=0), name
