"""The VQGAN against a recorded run of the published implementation (taming-transformers)."""

from __future__ import annotations

import json

import pytest
import torch
from golden_bridge import needs_golden
from places import GOLDEN
from safetensors.torch import load_file

from spectac_fast.checkpoints.weights import fill
from spectac_fast.models.methods.vqgan import VQGAN, codebook_loss, straight_through
from spectac_fast.models.published import read_published

pytestmark = needs_golden
FOLDER = GOLDEN / "taming_vq_f4"


@pytest.fixture(scope="module")
def state():
    return load_file(FOLDER / "state_dict.safetensors")


@pytest.fixture(scope="module")
def model(state):
    network = read_published("vqgan", state, "taming").config["network"]
    model = VQGAN(**network)
    fill(model, state, "taming")
    return model.eval()


@pytest.fixture(scope="module")
def io():
    return load_file(FOLDER / "io.safetensors")


def test_the_importer_reads_the_published_sizes(state):
    published = json.loads((FOLDER / "config.json").read_text())["constructor"]
    found = read_published("vqgan", state, "taming").config["network"]
    for name in ("z_channels", "in_channels", "ch", "ch_mult", "num_res_blocks"):
        assert found[name] == published["ddconfig"][name], name
    assert (found["embed_dim"], found["n_embed"], found["attn_levels"]) == (4, published["n_embed"], [])


def test_latent_codes_and_reconstruction(model, io):
    with torch.no_grad():
        h = model.encode(io["x"])
        codes, indices = model.quantize(h)
        recon, same, loss = model(io["x"])
    assert float((h - io["h"]).abs().max()) < 1e-4
    assert torch.equal(indices, io["indices"])
    assert torch.equal(same, indices)
    assert float((straight_through(h, codes) - io["quant"]).abs().max()) < 1e-4
    assert float((loss - io["emb_loss"]).abs()) < 1e-5 * float(io["emb_loss"])
    assert float((recon - io["recon"]).abs().max()) < 1e-4
    assert torch.equal(model.decode(h), recon)


def test_batched_equals_one_by_one(model, io):
    with torch.no_grad():
        together, _, _ = model(io["x"])
        alone = torch.cat([model(x[None])[0] for x in io["x"]])
    assert float((together - alone).abs().max()) < 1e-5


def test_gradients_of_the_codebook_loss(model, io):
    """Each term moves its own side, the codebook with a quarter of the weight; the image's gradient passes through."""
    h = io["h"].clone().requires_grad_()
    codes, _ = model.quantize(h)
    model.zero_grad()
    codebook_loss(h, codes).backward()
    difference = 2.0 * (io["h"] - codes.detach()) / io["h"].numel()
    assert torch.allclose(h.grad, difference, rtol=1e-5, atol=1e-9)
    expected = torch.zeros_like(model.quantize.embedding.weight)
    rows = (-0.25 * difference).permute(0, 2, 3, 1).reshape(-1, 4)
    expected.index_add_(0, io["indices"], rows)
    assert torch.allclose(model.quantize.embedding.weight.grad, expected, rtol=1e-5, atol=1e-7)
    straight = io["h"].clone().requires_grad_()
    straight_through(straight, model.quantize(straight)[0]).sum().backward()
    assert torch.equal(straight.grad, torch.ones_like(straight))
