"""Attributions and attention maps against what is known exactly."""

from __future__ import annotations

import pytest
import tiny_ldm
import tiny_noise
import torch
from tiny_latent import CPDM, FIRST_STAGE, LBBDM, weight_file

from spectac_fast import load
from spectac_fast.checkpoints.weights import save_weights
from spectac_fast.errors import UsageError
from spectac_fast.models.explain import attention_weights, explain_slice, integrated_gradients
from spectac_fast.models.gradients import differentiable
from spectac_fast.models.networks.build import build_network
from spectac_fast.models.networks.unet import AttentionBlock


@pytest.fixture
def nc():
    return torch.rand(1, 1, 16, 16) * 2 - 1


def test_attributions_of_a_polynomial_are_exact():
    """f = w x + x' Q x + c prod: the integral along a straight way is known in closed form."""
    x, b = torch.randn(1, 6, dtype=torch.float64), torch.randn(1, 6, dtype=torch.float64)
    w, q = torch.randn(6, dtype=torch.float64), torch.randn(6, 6, dtype=torch.float64)
    found = integrated_gradients(lambda v: v @ w + torch.einsum("bi,ij,bj->b", v, q, v), x, b, nodes=2)
    middle = 0.5 * (x + b)
    torch.testing.assert_close(found, (x - b) * (w + middle @ (q + q.T)), rtol=1e-12, atol=1e-12)


def test_attributions_add_up():
    """Completeness to 1e-4, for a smooth value that is no polynomial; a pixel without influence gets nothing."""
    x, b, w = torch.randn(1, 1, 5, 5), torch.zeros(1, 1, 5, 5), torch.randn(5, 5)
    w[2, 3] = 0.0

    def value(v):
        return torch.tanh((v[:, 0] * w).sum(dim=(1, 2))) + torch.exp(-(v[:, 0, 0, 0] ** 2))

    found = integrated_gradients(value, x, b)
    assert abs(float(found.sum()) - float(value(x) - value(b))) < 1e-4
    assert found[0, 0, 2, 3] == 0.0


def test_the_shipped_model_is_explained(nc):
    translator = load("bbdm", device="cpu")
    beside = torch.rand(1, len(translator.context_mm), 16, 16) * 2 - 1
    region = torch.zeros(16, 16, dtype=torch.bool)
    region[5:9, 6:10] = True
    got = explain_slice(translator, nc, region, neighbours=beside, nodes=64)
    expected = translator.translate(nc, neighbours=beside)[0, 0]
    torch.testing.assert_close(got.image, expected, rtol=0, atol=1e-4)
    assert got.value == pytest.approx(float(expected[region].mean()), abs=1e-4)
    assert got.attribution.shape == (1 + len(translator.context_mm), 16, 16)
    assert got.gap < 5e-3 * max(1.0, abs(got.value - got.baseline))
    near, far = got.attribution[0].abs()[region].mean(), got.attribution[0].abs()[~region].mean()
    assert near > 2 * far
    # Attention lies in the middle block alone.
    assert list(got.attention) == ["denoise_fn.body.middle_block.1"]
    assert explain_slice(translator, nc, nodes=2).image.shape == (16, 16)


def test_attention_is_what_the_block_mixes_by():
    block = AttentionBlock(8, 1, 4).eval()
    x = torch.randn(2, 8, 3, 5)
    weights = attention_weights(block, x).detach()
    torch.testing.assert_close(weights.sum(dim=(3, 4)), torch.ones(2, 3, 5))
    value = block.qkv(block.norm(x.reshape(2, 8, 15))).view(2, 3, 8, 15)[:, 2]
    mixed = torch.einsum("bqk,bck->bcq", weights.view(2, 15, 15), value)
    expected = x + block.proj_out(mixed).view_as(x)
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)


def test_what_the_region_looks_at_sums_to_one(nc):
    got = explain_slice(load("bbdm", device="cpu"), torch.rand(1, 1, 64, 64) * 2 - 1, nodes=1)
    for seen in got.attention.values():
        assert seen.shape == (64, 64)
        assert float(seen.sum()) == pytest.approx(1.0, abs=1e-4)
        assert (seen >= 0).all()


def test_a_regression_is_explained_by_itself(tmp_path, nc):
    config = {
        "network": {
            "kind": "folded_unet", "model_channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1,
            "attention_resolutions": [], "num_head_channels": 8, "head_channels": 2, "norm_groups": 4,
        },
        "gain": 1.7, "pixel_mm": 6.8, "slice_mm": 6.8, "size": [16, 16],
    }  # fmt: skip
    torch.manual_seed(1)
    state = build_network(config["network"]).state_dict()
    tensors = {f"denoise_fn.{k}": 0.1 * torch.randn(v.shape) for k, v in state.items()}
    save_weights(tmp_path / "r.safetensors", tensors, "regression", config, {})
    translator = load(tmp_path / "r.safetensors", device="cpu")
    torch.testing.assert_close(differentiable(translator)(nc), translator.translate(nc), rtol=0, atol=1e-4)
    assert explain_slice(translator, nc).gap < 1e-3


class NoCodes(torch.nn.Module):
    """A code book of every code there is."""

    def forward(self, h):
        return h, None


@pytest.mark.parametrize(
    ("build", "model", "config"),
    [
        (weight_file, "lbbdm", LBBDM),
        (weight_file, "cpdm", CPDM),
        (lambda folder, _, config: tiny_ldm.weight_file(folder, config), "ldm", tiny_ldm.CONFIG),
        (tiny_noise.weight_file, "ddpm", tiny_noise.CONFIGS["ddpm"]),
        (tiny_noise.weight_file, "palette", tiny_noise.CONFIGS["palette"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_diffusion_is_explained_by_its_first_estimate(tmp_path, nc, build, model, config):
    """What the sampler gives that stops there, but for the code book; the attributions add up to it."""
    translator = load(build(tmp_path, model, config), device="cpu")
    first_stage = getattr(translator.model, "vqgan", getattr(translator.model, "first_stage_model", None))
    if first_stage is not None:
        first_stage.quantize = NoCodes()
    steps = 1 if model in ("lbbdm", "cpdm") else [translator.table(None, None, None).t[0]]
    found = explain_slice(translator, nc)
    expected = translator.translate(nc, torch.zeros(1, dtype=torch.int64), steps=steps)[0, 0]
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found.image, expected, rtol=0, atol=2e-4 * scale)
    assert float(found.attribution.abs().max()) > 0
    # Maps of CPDM are those of the slice all the way down to no counts.
    assert found.gap < 1e-3 * scale


def test_what_cannot_be_explained_says_so(tmp_path, nc):
    with pytest.raises(UsageError, match="linear has no gradient"):
        explain_slice(load("linear", device="cpu"), nc)
    with pytest.raises(UsageError, match="vqgan has no gradient"):
        explain_slice(load(weight_file(tmp_path, "vqgan", FIRST_STAGE), device="cpu"), nc)
    with pytest.raises(ValueError, match="region must be bool"):
        explain_slice(load("bbdm", device="cpu"), nc, torch.zeros(16, 16, dtype=torch.bool))
    with pytest.raises(ValueError, match="one slice"):
        explain_slice(load("bbdm", device="cpu"), nc.repeat(2, 1, 1, 1))
