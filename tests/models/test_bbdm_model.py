"""The bridge as a translator, the rows, weight files, and every way a model file can be wrong."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from tiny_bbdm import BRIDGE, CONFIG, NETWORK, random_tensors

import spectac_fast
from spectac_fast.checkpoints.weights import load_weights, save_weights
from spectac_fast.errors import InputError, SetupError
from spectac_fast.models.names import FOLDER
from spectac_fast.models.networks.build import build_network
from spectac_fast.models.networks.folded_unet import FoldedUNet
from spectac_fast.models.networks.unet import UNetModel, timestep_embedding
from spectac_fast.models.registry import load
from spectac_fast.models.translator import Translator


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_weights(path, random_tensors(), "bbdm", CONFIG, {"seed": 5})
    return path


def test_translator_is_one(weights):
    model = spectac_fast.load(str(weights), device="cpu")
    assert isinstance(model, Translator)
    assert (model.name, model.gain, model.pixel_mm, model.card) == ("bbdm", 1.7, 6.8, {"seed": 5})
    assert len(model.weights_sha256) == 64


def test_one_evaluation_is_the_network_at_the_start(weights):
    model, nc = load(weights, device="cpu"), torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        expected = nc - model.model(nc, torch.full((2,), 999), nc)
    assert float((model.translate(nc) - expected).abs().max()) < 1e-5
    assert torch.equal(model.translate(nc), model.translate(nc, steps=1, samples=4, seeds=torch.tensor([5, 6])))


def test_samples_are_averaged(weights):
    """K = 2 is the mean of two independent samples; one sample is repeatable and another seed differs."""
    model, nc, seeds = load(weights, device="cpu"), torch.randn(2, 1, 16, 16), torch.tensor([3, 9])
    one = model.translate(nc, seeds, samples=1)
    assert torch.equal(one, model.translate(nc, seeds, steps=3, samples=1))
    assert not torch.equal(one, model.translate(nc, seeds + 1, samples=1))
    second = 2 * model.translate(nc, seeds, samples=2) - one
    assert float((second - one).abs().max()) > 1e-3


@pytest.mark.parametrize("in_channels", [3, 6])
def test_networks_of_colour_images_get_copies(tmp_path, in_channels):
    """Published networks know RGB images: a slice in each channel, and the mean of what comes back."""
    network = {
        "kind": "unet", "in_channels": in_channels, "model_channels": 8, "out_channels": 3, "num_res_blocks": 1,
        "attention_resolutions": [], "channel_mult": [1, 2], "norm_groups": 4,
    }  # fmt: skip
    path = tmp_path / "rgb.safetensors"
    state = {f"denoise_fn.{k}": 0.1 * torch.randn(v.shape) for k, v in build_network(network).state_dict().items()}
    save_weights(path, state, "bbdm", {**CONFIG, "network": network}, {})
    model, nc = load(path, device="cpu"), torch.randn(2, 1, 16, 16)
    y = nc.repeat(1, 3, 1, 1)
    with torch.no_grad():
        expected = (y - model.model(y, torch.full((2,), 999), y if in_channels == 6 else None)).mean(1, keepdim=True)
    assert float((model.translate(nc, steps=1) - expected).abs().max()) < 1e-5


def test_seeds_default_to_the_indices(weights):
    model, nc = load(weights, device="cpu"), torch.randn(3, 1, 16, 16)
    assert torch.equal(model.translate(nc, samples=1), model.translate(nc, torch.arange(3), samples=1))


def test_batched_equals_one_by_one(weights):
    model, nc, seeds = load(weights, device="cpu"), torch.randn(67, 1, 16, 16), torch.randint(2**62, (67,))
    together = model.translate(nc, seeds, samples=1)
    alone = torch.cat([model.translate(nc[i : i + 1], seeds[i : i + 1], samples=1) for i in range(67)])
    assert float((together - alone).abs().max()) < 1e-5


def test_neighbours_in_a_batch_do_not_matter(weights):
    """Within one padded batch size the bytes of a slice are its own."""
    model, nc, seeds = load(weights, device="cpu"), torch.randn(7, 1, 16, 16), torch.randint(2**62, (7,))
    together = model.translate(nc, seeds, samples=1)
    others = torch.cat([nc[:1], torch.randn(4, 1, 16, 16)])
    changed = model.translate(others, torch.cat([seeds[:1], torch.arange(4)]), samples=1)
    assert torch.equal(together[0], changed[0])


@pytest.mark.parametrize("shape", [(16, 16), (13, 16), (30, 17), (5, 5)])
def test_any_size_is_padded_with_zero_counts(weights, shape):
    model, nc = load(weights, device="cpu"), torch.rand(1, 1, *shape)
    found = model.translate(nc)
    assert found.shape == nc.shape
    top, left = (-(-max(n, 16) // 4) * 4 - n for n in shape)
    height, width = (-(-max(n, 16) // 4) * 4 for n in shape)
    padded = torch.full((1, 1, height, width), -1.0)
    padded[:, :, top // 2 : top // 2 + shape[0], left // 2 : left // 2 + shape[1]] = nc
    whole = model.translate(padded)[:, :, top // 2 : top // 2 + shape[0], left // 2 : left // 2 + shape[1]]
    assert float((found - whole).abs().max()) < 1e-5


@pytest.mark.parametrize("nc", [torch.zeros(1, 2, 16, 16), torch.zeros(1, 16, 16), torch.zeros(1, 1, 16, 16).double()])
def test_wrong_slices_are_refused(weights, nc):
    with pytest.raises(ValueError, match="nc must be float32"):
        load(weights, device="cpu").translate(nc)


def test_wrong_seeds_and_samples_are_refused(weights):
    model, nc = load(weights, device="cpu"), torch.zeros(2, 1, 16, 16)
    with pytest.raises(ValueError, match="seeds must be int64"):
        model.translate(nc, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="samples must be at least 1"):
        model.translate(nc, samples=0)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(SetupError, match="did you mean bbdm"):
        load("bdbm")
    with pytest.raises(SetupError, match="did you mean identity"):
        load("Idenity")


def test_missing_file_is_named(tmp_path):
    for name in ("no.safetensors", "no.json"):
        with pytest.raises(InputError, match=name):
            load(tmp_path / name)


def test_damaged_files_are_named(tmp_path, weights):
    text = tmp_path / "text.safetensors"
    text.write_text("these are no weights")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-100])
    plain = tmp_path / "plain.safetensors"
    save_file({"a": torch.zeros(2)}, plain)
    for path in (text, cut, plain):
        with pytest.raises(InputError, match=path.name) as caught:
            load(path)
        assert "\n" not in str(caught.value)


def changed(config, **parts):
    return {**json.loads(json.dumps(config)), **parts}


@pytest.mark.parametrize(
    "config",
    [
        changed(CONFIG, network={**NETWORK, "kind": "transformer"}),
        changed(CONFIG, network={**NETWORK, "depth": 3}),
        changed(CONFIG, network={**NETWORK, "norm_groups": 5}),
        changed(CONFIG, network={**NETWORK, "num_head_channels": 5}),
        changed(CONFIG, network={**NETWORK, "model_channels": 16}),
        changed(CONFIG, bridge={**BRIDGE, "max_var": -1.0}),
        changed(CONFIG, bridge={**BRIDGE, "speed": 1}),
        changed(CONFIG, defaults={}),
        changed(CONFIG, size=[16]),
        changed(CONFIG, gain=None),
        {},
    ],
)
def test_descriptions_that_do_not_fit_are_named(tmp_path, config):
    path = tmp_path / "odd.safetensors"
    save_weights(path, random_tensors(), "bbdm", config, {})
    with pytest.raises(InputError, match=r"odd\.safetensors"):
        load(path)


def test_tensors_that_do_not_fit_are_named(tmp_path):
    path, tensors = tmp_path / "odd.safetensors", random_tensors()
    first = next(iter(tensors))
    for odd, word in (
        ({k: v for k, v in tensors.items() if k != first}, "lacks"),
        ({**tensors, "denoise_fn.more": torch.zeros(1)}, "unknown"),
        ({**tensors, first: torch.zeros(3, 1)}, "shape"),
    ):
        save_weights(path, odd, "bbdm", CONFIG, {})
        with pytest.raises(InputError, match=word):
            load(path)
    save_weights(path, tensors, "nonsense", CONFIG, {})
    with pytest.raises(InputError, match="nonsense"):
        load(path)


def test_weight_files_keep_every_bit(tmp_path):
    tensors = {"a": torch.randn(3, 4).half(), "b": torch.arange(5)}
    save_weights(tmp_path / "w.safetensors", tensors, "m", {"x": [1, 2]}, {"y": 0.5})
    found, header = load_weights(tmp_path / "w.safetensors")
    assert all(torch.equal(found[k], v) for k, v in tensors.items())
    assert header == {"format": 1, "model": "m", "config": {"x": [1, 2]}, "card": {"y": 0.5}}


ROW = {"format": 1, "model": "linear", "slope": 0.5, "offset": -0.25, "gain": 1.5, "pixel_mm": 6.8, "card": {}}


def test_row_is_a_line(tmp_path):
    path = tmp_path / "row.json"
    path.write_text(json.dumps(ROW))
    row, nc = load(path, device="cpu"), torch.randn(2, 1, 3, 3)
    assert isinstance(row, Translator)
    assert torch.equal(row.translate(nc, steps=6, samples=8), 0.5 * nc - 0.25)


@pytest.mark.parametrize(
    "content", ["[]", "{", "{}", json.dumps({**ROW, "slope": "a"}), json.dumps({**ROW, "format": 2})]
)
def test_wrong_rows_are_named(tmp_path, content):
    path = tmp_path / "row.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"row\.json"):
        load(path)


def test_timestep_embedding_starts_with_cosines():
    found = timestep_embedding(torch.tensor([0, 7]), 6)
    assert found[0].tolist() == [1, 1, 1, 0, 0, 0]
    assert float(found[1, 3]) == pytest.approx(torch.sin(torch.tensor(7.0)).item(), abs=1e-6)


@pytest.mark.parametrize("options", [
    {"resblock_updown": False, "conv_resample": True},
    {"resblock_updown": False, "conv_resample": False, "use_scale_shift_norm": True},
    {"resblock_updown": True, "num_heads": 2},
])  # fmt: skip
def test_unet_variants_keep_shape_and_use_their_inputs(options):
    net = UNetModel(3, 8, 2, 1, (2,), (1, 2), norm_groups=4, **options)
    x, y, t = torch.randn(2, 1, 8, 12), torch.randn(2, 2, 8, 12), torch.tensor([0, 500])
    with torch.no_grad():
        base = net(x, t, y)
        assert base.shape == (2, 2, 8, 12)
        for other in (net(x + 1, t, y), net(x, t + 3, y), net(x, t, y + 1)):
            assert float((other - base).abs().max()) > 1e-4


def test_folded_unet_starts_at_zero_and_without_a_grid():
    net = FoldedUNet(8, (1, 2), 1, (), 8, 2, 4)
    x, t = torch.randn(1, 1, 16, 16), torch.zeros(1, dtype=torch.long)
    assert torch.equal(net(x, t, x), torch.zeros_like(x))
    with torch.no_grad():
        features = torch.nn.functional.pixel_shuffle(net.body(torch.randn(1, 8, 8, 8), t), 2)
    blocks = torch.nn.functional.pixel_unshuffle(features, 2).view(1, 2, 4, 8, 8)
    assert float((blocks - blocks[:, :, :1]).abs().max()) < 1e-6


def test_the_shipped_network_has_the_size_its_card_states():
    from torch.utils.flop_counter import FlopCounterMode

    translator = load("bbdm", device="cpu")
    x = torch.zeros(1, 1, 64, 64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        seen = x.expand(-1, 1 + len(translator.context_mm) + len(translator.facts), -1, -1)
        translator.model(x, torch.tensor([999]), seen)
    parameters = sum(p.numel() for p in translator.model.denoise_fn.parameters())
    card = (FOLDER / "bbdm64.md").read_text()
    assert f"{parameters / 1e6:.2f} M parameters" in card
    assert f"{counter.get_total_flops() / 1e9:.2f} GFLOP" in card
