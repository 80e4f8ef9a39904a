"""The GAN translators against recorded runs of the published implementations, weights and names included."""

from __future__ import annotations

import json

import pytest
import torch
from places import GOLDEN
from safetensors.torch import load_file

from spectac_fast import cli
from spectac_fast.checkpoints import layouts
from spectac_fast.models import gan_losses as losses
from spectac_fast.models.methods.reggan import ImageDiscriminator
from spectac_fast.models.networks.patchgan import PatchDiscriminator
from spectac_fast.models.networks.registration import Registration, warp
from spectac_fast.models.networks.resnet import ResnetGenerator
from spectac_fast.models.networks.unet_generator import UNetGenerator
from spectac_fast.models.networks.unit import MultiScaleDiscriminator, VAEGenerator
from spectac_fast.models.published import read_published
from spectac_fast.models.registry import load

pytestmark = [
    pytest.mark.skipif(not GOLDEN.is_dir(), reason="no golden data: set SPECTAC_GOLDEN to its folder"),
    pytest.mark.usefixtures("one_thread"),
]

# Other float32 kernels change the published output by up to 3e-5 (registration) and 1e-5 (the rest).
OUTPUT, FLOW, LOSS = 1e-4, 3e-4, 1e-6


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def golden(variant):
    return load_file(GOLDEN / variant / "state_dict.safetensors"), load_file(GOLDEN / variant / "io.safetensors")


def filled(network, state):
    network.load_state_dict(state)
    return network


def distance(found, expected):
    difference = (found - expected).abs().max()
    return float(difference) if torch.isfinite(difference) else float("inf")


@pytest.mark.parametrize(("norm", "output"), [("batch1", "y_train_batch1"), ("eval", "y_eval")])
def test_unet_by_either_statistics(norm, output):
    state, io = golden("pix2pix_unet256")
    network = filled(UNetGenerator(width=4, norm=norm), state).eval()
    together = network(io["x"])
    assert distance(together, io[output]) < OUTPUT
    assert distance(network(io["x"][1:]), together[1:]) < 1e-5


def test_unet_in_training_moves_its_statistics():
    state, io = golden("pix2pix_unet256")
    network = filled(UNetGenerator(width=4, dropout="none"), state).train()
    assert distance(network(io["x"]), io["y_train_batch2"]) < OUTPUT
    for name, buffer in network.named_buffers():
        assert distance(buffer.float(), io[f"buffers_after_batch2.{name}"].float()) < 1e-5, name


def test_conditional_discriminator():
    state, io = golden("patchgan70")
    pair = torch.cat([io["A"], io["B"]], dim=1)
    for norm, output in (("batch1", "logits_train_batch1"), ("eval", "logits_eval")):
        network = filled(PatchDiscriminator(2, 8, norm=norm), state).eval()
        assert distance(network(pair), io[output]) < OUTPUT
    logits = network.train()(pair)
    assert distance(logits, io["logits_train_batch2"]) < OUTPUT
    assert distance(losses.bce(logits, True), io["bce_real"]) < LOSS
    assert distance(losses.bce(logits, False), io["bce_fake"]) < LOSS


def test_unconditional_discriminator_by_patch_and_by_image():
    state, io = golden("patchgan70_in")
    patches = filled(PatchDiscriminator(1, 8, norm="instance"), state)(io["x"])
    image = filled(ImageDiscriminator(1, 8, norm="instance"), state)(io["x"])
    assert distance(patches, io["logits"]) < OUTPUT
    assert distance(image, io["mean_logit"]) < OUTPUT
    for logits, name in ((patches, "lsgan"), (image, "reggan")):
        assert distance(losses.lsgan(logits, True), io[f"{name}_real"]) < LOSS
        assert distance(losses.lsgan(logits, False), io[f"{name}_fake"]) < LOSS


def test_residual_generator():
    state, io = golden("cyclegan_resnet9")
    network = filled(ResnetGenerator(width=8), state)
    together = network(io["x"])
    assert distance(together, io["y"]) < OUTPUT
    assert distance(network(io["x"][1:]), together[1:]) < 1e-5


def test_registration_and_warp():
    state, io = golden("reggan_R")
    network = filled(Registration(2, (4, 8, 8, 8, 8, 8, 8), 16), state)
    assert distance(network(io["fake"], io["real"]), io["flow"]) < FLOW
    warped = warp(io["fake"], io["flow"])
    assert distance(warped, io["warped"]) < OUTPUT
    assert distance(losses.smoothness(io["flow"]), io["smooth_loss"]) < LOSS * float(io["smooth_loss"])
    assert distance(losses.l1(warped, io["real"]), io["l1"]) < LOSS


def test_unit_generator():
    state, io = golden("unit_gen")
    network = filled(VAEGenerator(width=8), state)
    latent = network.enc(io["x"])
    assert distance(latent, io["latent"]) < OUTPUT
    assert distance(losses.kl(latent), io["kl"]) < LOSS * float(io["kl"])
    together = network.dec(latent)
    assert distance(together, io["y"]) < OUTPUT
    assert distance(together, io["y_batch1"]) < OUTPUT
    assert distance(network.dec(latent[1:]), together[1:]) < 1e-5


def test_unit_discriminator():
    state, io = golden("unit_dis")
    network = filled(MultiScaleDiscriminator(width=8), state)
    fake, real = network(io["x_fake"]), network(io["x_real"])
    for scale in range(3):
        assert distance(fake[scale], io[f"logits_fake.{scale}"]) < OUTPUT
        assert distance(real[scale], io[f"logits_real.{scale}"]) < OUTPUT
    judged = losses.lsgan_scales(fake, False) + losses.lsgan_scales(real, True)
    assert distance(judged, io["loss_dis"]) < LOSS * float(io["loss_dis"])
    assert distance(losses.lsgan_scales(fake, True), io["loss_gen"]) < LOSS * float(io["loss_gen"])


def unit_pair(state):
    """Both domains' generators of one state dict, the parts that NC -> AC does not use made wrong."""
    wrong = {name: torch.full_like(value, float("nan")) for name, value in state.items()}
    return {
        "a": {name: (state if name.startswith("enc.") else wrong)[name] for name in state},
        "b": {name: (state if name.startswith("dec.") else wrong)[name] for name in state},
    }


@pytest.mark.parametrize(
    ("layout", "variant", "output", "flags"),
    [
        ("pix2pix", "pix2pix_unet256", "y_train_batch1", []),
        ("pix2pix", "pix2pix_unet256", "y_eval", ["--set", "network.norm=eval"]),
        ("cyclegan", "cyclegan_resnet9", "y", ["--size", "64", "64"]),
        ("reggan", "reggan_resnet9", "y", ["--size", "64", "64"]),
        ("unit", "unit_gen", "y", ["--size", "64", "64"]),
    ],
)
def test_imported_checkpoint_gives_the_published_images(tmp_path, capsys, layout, variant, output, flags):
    """File in, images out, and the file back again with every bit of its tensors."""
    state, io = golden(variant)
    content = unit_pair(state) if layout == "unit" else state
    published, weights, back = (tmp_path / name for name in ("net.pth", "w.safetensors", "back.pth"))
    torch.save(content, published)
    assert cli.main(["import", str(published), "--layout", layout, "-o", str(weights), *flags]) == 0
    model = load(weights, device="cpu")
    assert model.name == layout
    assert distance(model.translate(io["x"], steps=6, samples=8), io[output]) < OUTPUT
    assert cli.main(["export", str(weights), "--layout", layout, "-o", str(back)]) == 0
    again, _ = layouts.flat_state(torch.load(back, weights_only=True), None, "it")
    expected, _ = layouts.flat_state(content, None, "it")
    assert again.keys() == expected.keys()
    assert all(torch.equal(again[name], expected[name]) or "nan" in str(again[name]) for name in again)


def test_one_network_under_two_names():
    """RegGAN's generator is CycleGAN's: the same tensors, renamed, in both directions."""
    theirs, ours = golden("reggan_resnet9")[0], golden("cyclegan_resnet9")[0]
    found = read_published("reggan", theirs, "it")
    assert found.tensors.keys() == ours.keys()
    assert all(torch.equal(found.tensors[name], ours[name]) for name in ours)
    assert found.config["network"] == read_published("cyclegan", ours, "it").config["network"]
    back = layouts.layout("reggan").write(ours, found.config)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)


def test_sizes_are_read_from_the_shapes():
    for variant in ("pix2pix_unet256", "cyclegan_resnet9"):
        described = json.loads((GOLDEN / variant / "config.json").read_text())["constructor"]
        network = read_published("pix2pix", golden(variant)[0], "it").config["network"]
        assert network["width"] == int(described["ngf"].split()[0])
        assert (network["in_channels"], network["out_channels"]) == (described["input_nc"], described["output_nc"])
        assert network.get("num_downs", 8) == described.get("num_downs", 8)
        assert network.get("blocks", 9) == 9
