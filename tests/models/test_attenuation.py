"""The attenuation factor: its formula, what each method's prediction becomes with it, the engine, what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from golden_bridge import relative

import spectac_fast as sf
from spectac_fast.checkpoints.weights import save_weights
from spectac_fast.cli import main
from spectac_fast.diffusion import vp
from spectac_fast.diffusion.bridge import OBJECTIVES
from spectac_fast.diffusion.vp import VPProcess
from spectac_fast.errors import InputError, UsageError
from spectac_fast.models.methods import bbdm, ddpm, palette, regression
from spectac_fast.models.methods.unit import UNIT
from spectac_fast.models.networks.attenuation import Attenuation, attenuated, attenuation_factor, of_image
from spectac_fast.models.networks.build import build_network
from spectac_fast.models.registry import load
from spectac_fast.train.recipe import load_recipe

GAIN, PATHS = 1.7, 4
FOLDED = {
    "kind": "folded_unet", "model_channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1,
    "attention_resolutions": [], "num_head_channels": 8, "head_channels": 2, "norm_groups": 4,
}  # fmt: skip
UNET = {
    "kind": "unet", "in_channels": 2, "model_channels": 8, "out_channels": 1, "num_res_blocks": 1,
    "attention_resolutions": [], "channel_mult": [1, 2], "num_head_channels": 8, "norm_groups": 4,
}  # fmt: skip
BOTH = {"context_slices": 1, "attenuation_paths": PATHS}
GENTLE = {"num_timesteps": 20, "schedule": "linear", "beta_start": 1e-4, "beta_end": 0.1}


def random_weights(network):
    """A new network returns zeros."""
    torch.manual_seed(1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3 / max(parameter[0].numel() ** 0.5, 1.0))
    return network.eval().requires_grad_(False)


def test_attenuation_factor():
    """A uniform body of known thickness, and the limits."""
    mu, paths = torch.tensor(0.15), torch.tensor([4.0, 12.0])
    raw = [torch.log(torch.expm1(value)) for value in (mu, paths)]
    factor = attenuation_factor(raw[0].view(1, 1, 1, 1), raw[1].view(1, 2, 1, 1))
    expected = 2.0 / (torch.exp(-0.15 * 4.0 * torch.ones(())) + torch.exp(-0.15 * 12.0 * torch.ones(())))
    assert float(factor) == pytest.approx(float(expected), rel=1e-5)
    nc = torch.tensor([[[[-1.0, 0.5]]]])
    assert attenuated(nc, torch.tensor(2.0), 1.6).flatten().tolist() == pytest.approx([-1.0, 2.0 * 1.5 / 1.6 - 1.0])
    huge = torch.full((1, 3, 1, 1), 50.0)
    assert float(attenuation_factor(huge[:, :1], huge)) == pytest.approx(torch.e**8, rel=1e-4)


def bridge_of(objective):
    bridge = {"num_timesteps": 50, "max_var": 0.05, "objective": objective}
    model = bbdm.model_of({"bridge": bridge, "network": FOLDED | BOTH, "gain": GAIN})

    def x0_from(prediction, x, y, t):
        return model.bridge.x0_from(prediction, x, y, t)

    return model, lambda t: t, x0_from


def ddpm_of(objective):
    process = {**GENTLE, "objective": objective}
    model = ddpm.model_of({"process": process, "network": UNET | BOTH, "gain": GAIN})
    return model, lambda t: t, lambda out, x, y, t: model.process.x0_from(out, x, model.process.levels(t))


def palette_of(objective):
    training = {**GENTLE, "objective": objective}
    model = palette.model_of({"training": training, "network": UNET | BOTH | {"kind": "palette_unet"}, "gain": GAIN})
    process = VPProcess(**training)
    return model, process.levels, lambda out, x, y, level: process.x0_from(out, x, level)


NOISY = {
    f"{name}, {objective}": lambda make=make, objective=objective: make(objective)
    for name, make in (("ddpm", ddpm_of), ("palette", palette_of))
    for objective in vp.OBJECTIVES
}
METHODS = {**{name: lambda name=name: bridge_of(name) for name in OBJECTIVES}, **NOISY}


@pytest.mark.parametrize("method", METHODS)
def test_a_prediction_is_between_the_direct_and_the_attenuated_image(method):
    """In images: AC = (1 - share) direct + share factor NC, half of each where no noise is predicted."""
    model, told, x0_from = METHODS[method]()
    head = random_weights(model).denoise_fn
    x, seen, t = torch.randn(4, 1, 16, 16), torch.randn(4, 3, 16, 16), told(torch.tensor([0, 3, 12, 19]))
    nc, raws = seen[:, :1], []
    handle = head.network.register_forward_hook(lambda _, given, raw: raws.append(raw))
    found = x0_from(model(x, t, seen), x, nc, t)
    handle.remove()
    (raw,) = raws
    physical = attenuated(nc, attenuation_factor(raw[:, 1:2], raw[:, 2:]), GAIN)
    share = torch.full((4, 1, 1, 1), 0.5)
    if method in ("noise", *NOISY):
        # How much an image's error weighs in the noise, from two images.
        one, other = (x0_from(torch.full_like(x, value), x, nc, t) for value in (0.0, 1.0))
        share = 0.5 * (one - other)[:, :, :1, :1].clamp(max=1.0)
        assert float(share.min()) < 0.1
    expected = (1 - share) * x0_from(raw[:, :1], x, nc, t) + share * physical
    assert raw.shape[1] == 2 + PATHS
    assert relative(found, expected) < 1e-5


@pytest.mark.parametrize("method", [*METHODS, "regression"])
def test_the_engine_is_the_same_function(method):
    if method == "regression":
        model, told = regression.model_of({"network": FOLDED | BOTH, "gain": GAIN}), lambda t: t
    else:
        model, told, _ = METHODS[method]()
    network = random_weights(model).denoise_fn
    x, seen = torch.randn(3, 1, 16, 24), torch.randn(3, 3, 16, 24)
    fast = sf.engine(model)
    assert (fast.in_channels, fast.out_channels) == (4, 1)
    t = told(torch.tensor([0, 7, 19]))
    assert relative(fast(x, t, seen), network(x, t, context=seen)) < 1e-5
    if not method.startswith("palette"):
        t = torch.full((3,), 7)
        assert relative(fast.prepare(seen, (19, 7))(x, t), network(x, t, context=seen)) < 1e-5


def test_files_of_the_older_spelling_are_the_same_regression(tmp_path):
    """2 + K channels were a factor before there was a name for it; numbers and weights stay."""
    torch.manual_seed(2)
    old = {**FOLDED, "out_channels": 2 + PATHS}
    network = random_weights(build_network(old))
    tensors = {f"denoise_fn.{name}": value for name, value in network.state_dict().items()}
    data = {"gain": GAIN, "pixel_mm": 6.8, "slice_mm": 6.8, "size": [16, 16]}
    save_weights(tmp_path / "old.safetensors", tensors, "regression", {"network": old, **data}, {})
    renamed = {name.replace("denoise_fn", "denoise_fn.network"): value for name, value in tensors.items()}
    now = {"network": {**FOLDED, "attenuation_paths": PATHS}, **data}
    save_weights(tmp_path / "new.safetensors", renamed, "regression", now, {})
    nc = torch.randn(2, 1, 16, 16)
    raw = network(nc, torch.zeros(2, dtype=torch.int64), context=nc)
    physical = attenuated(nc, attenuation_factor(raw[:, 1:2], raw[:, 2:]), GAIN)
    found = load(tmp_path / "old.safetensors", device="cpu").translate(nc)
    assert relative(found, 0.5 * (nc + raw[:, :1] + physical)) < 1e-5
    assert torch.equal(found, load(tmp_path / "new.safetensors", device="cpu").translate(nc))


GENERATORS = {
    "unet_generator": {"num_downs": 5, "width": 2},
    "resnet_generator": {"width": 2, "blocks": 1},
    "casnet": {"num_downs": 5, "width": 2, "blocks": 2},
    "unit": {"width": 2, "residuals": 1},
}


@pytest.mark.parametrize("kind", GENERATORS)
def test_generators_bound_their_own_image_only(kind):
    """Nothing of NC, however hot, is lost in a tanh; every raw output has a gradient."""
    config = {"kind": kind, **GENERATORS[kind], **BOTH}
    network = build_network(config, Attenuation(GAIN, of_image))
    assert (network.in_channels, network.out_channels) == (3, 1)
    last = [part for part in network.modules() if isinstance(part, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))][-1]
    seen = torch.randn(2, 3, 64, 64)
    network(seen).square().mean().backward()
    gradient = last.weight.grad.transpose(0, 1) if isinstance(last, torch.nn.ConvTranspose2d) else last.weight.grad
    assert len(gradient) == 2 + PATHS
    assert bool((gradient.abs().amax(dim=(1, 2, 3)) > 0).all())
    with torch.no_grad():
        last.weight.zero_()
        # An image of tanh(9), next to 1, and paths without attenuation.
        last.bias.copy_(torch.tensor([9.0] + [-50.0] * (1 + PATHS)))
        seen[:, 0] = 7.0
        assert torch.allclose(network(seen), torch.tensor(0.5 * (1.0 + 8.0 / GAIN - 1.0)), atol=1e-4)


def test_unit_has_a_factor_where_it_has_nc():
    """The decoder of AC also rebuilds AC from AC's own code."""
    config = {"kind": "unit", **GENERATORS["unit"], "attenuation_paths": PATHS}
    generators = random_weights(build_network(config, Attenuation(GAIN, of_image)))
    nc, ac = torch.randn(2, 2, 1, 16, 16)
    a, b = generators.a, generators.b
    passage = UNIT(generators, torch.nn.Identity(), torch.nn.Identity())(nc, ac, torch.zeros_like)

    def with_factor_of(code, nc):
        raw = b.dec(code)
        return 0.5 * (raw[:, :1] + attenuated(nc, attenuation_factor(raw[:, 1:2], raw[:, 2:]), GAIN))

    assert relative(passage.fake_ac, with_factor_of(a.enc(nc), nc)) < 1e-6
    assert torch.equal(passage.fake_ac, generators(nc))
    assert torch.equal(passage.ac_rebuilt, b.dec(b.enc(ac))[:, :1])
    fake_nc = a.dec(b.enc(ac))
    assert relative(passage.ac_again, with_factor_of(a.enc(fake_nc), fake_nc)) < 1e-6


def test_a_residual_unit_changes_the_other_image_both_ways():
    """What is made of the other domain's image is that image and a change; what is rebuilt, its code's alone."""
    config = {"kind": "unit", **GENERATORS["unit"], "context_slices": 1, "residual": True}
    generators = build_network(config)
    nc, ac = torch.randn(2, 3, 16, 16), torch.randn(2, 1, 16, 16)
    assert torch.equal(generators(nc), nc[:, :1])
    generators = random_weights(generators)
    a, b = generators.a, generators.b
    passage = UNIT(generators, torch.nn.Identity(), torch.nn.Identity())(nc, ac, torch.zeros_like)
    torch.testing.assert_close(passage.fake_ac, nc[:, :1] + b.dec(a.enc(nc))[:, 1:])
    torch.testing.assert_close(passage.fake_nc, ac.expand(-1, 3, -1, -1) + a.dec(b.enc(ac))[:, 3:])
    torch.testing.assert_close(passage.nc_rebuilt, a.dec(a.enc(nc))[:, :3])
    fake = passage.fake_ac
    torch.testing.assert_close(passage.nc_again, fake.expand(-1, 3, -1, -1) + a.dec(b.enc(fake))[:, 3:])
    assert torch.equal(passage.fake_ac, generators(nc))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"attenuation_paths": -1}, "a whole number, 0 for no factor, found -1"),
        ({"attenuation_paths": 1.5}, "a whole number, 0 for no factor, found 1.5"),
        ({"attenuation_paths": 2, "out_channels": 3, "in_channels": 6}, "images of one channel, found 3"),
        ({"attenuation_paths": 2, "in_channels": 1}, "NC beside the state, found one of 1 channel"),
    ],
)
def test_factors_that_cannot_be_are_refused(network, message):
    with pytest.raises(ValueError, match=message):
        bbdm.model_of({"bridge": {}, "network": {**UNET, **network}, "gain": GAIN})


def recipe_file(path, model, **network):
    recipe = load_recipe(model, "native64").as_dict()
    path.write_text(json.dumps(recipe | {"network": recipe["network"] | network}))
    return str(path)


@pytest.mark.parametrize("model", ["cpdm", "lbbdm", "ldm", "vqgan"])
def test_models_of_codes_have_no_factor(tmp_path, model):
    with pytest.raises(UsageError, match=f"{model} predicts codes of a first stage"):
        load_recipe(model, recipe_file(tmp_path / "own.json", model, attenuation_paths=8))
    inner = load_recipe(model, "native64").network.get("network")
    if inner:
        with pytest.raises(UsageError, match=f"{model} predicts codes of a first stage"):
            load_recipe(model, recipe_file(tmp_path / "own.json", model, network=inner | {"attenuation_paths": 8}))
        with pytest.raises(ValueError, match="found one of other images"):
            build_network(inner | {"attenuation_paths": 8})


@pytest.mark.parametrize(
    ("model", "option", "message"),
    [
        ("unit", "attenuation_paths", r"attenuation_paths belongs into network\.generator, found in network$"),
        ("pix2pix", "context_slices", r"context_slices belongs into network\.generator, found in network$"),
        ("vqgan", "context_slices", "a vqgan rebuilds the slice it sees"),
    ],
)
def test_options_that_nothing_would_read_are_refused(tmp_path, model, option, message):
    with pytest.raises(UsageError, match=message):
        load_recipe(model, recipe_file(tmp_path / "own.json", model, **{option: 1}))


def test_published_layouts_have_no_factor(tmp_path, capsys):
    config = {"kind": "resnet_generator", "width": 2, "blocks": 1, "attenuation_paths": 2}
    network = build_network(config, Attenuation(GAIN, of_image))
    data = {"gain": GAIN, "pixel_mm": 6.8, "slice_mm": 6.8, "size": [16, 16]}
    path, out = tmp_path / "own.safetensors", tmp_path / "own.pth"
    save_weights(path, network.state_dict(), "cyclegan", {"network": config, **data}, {})
    assert main(["export", str(path), "--layout", "cyclegan", "-o", str(out)]) == 2
    assert "has an attenuation factor" in capsys.readouterr().err
    assert not out.exists()
    plain = {"network": config | {"attenuation_paths": 0}, **data}
    save_weights(path, network.state_dict(), "cyclegan", plain, {})
    with pytest.raises(InputError, match="does not fit the network"):
        load(path, device="cpu")
