"""What the GAN methods minimise, term by term, and the frozen features some of it looks at."""

from __future__ import annotations

import pytest
import torch

from spectac_fast.checkpoints.weights import save_weights
from spectac_fast.errors import InputError
from spectac_fast.models import gan_losses as losses
from spectac_fast.models.methods.cyclegan import CycleGAN
from spectac_fast.models.methods.medgan import MedGAN
from spectac_fast.models.methods.pix2pix import Pix2Pix
from spectac_fast.models.methods.reggan import ImageDiscriminator, RegGAN
from spectac_fast.models.methods.unit import UNIT
from spectac_fast.models.methods.vqgan import VQGAN
from spectac_fast.models.networks.casnet import CasNet
from spectac_fast.models.networks.patchgan import PatchDiscriminator
from spectac_fast.models.networks.registration import Registration, warp
from spectac_fast.models.networks.resnet import ResnetGenerator
from spectac_fast.models.networks.unet_generator import UNetGenerator
from spectac_fast.models.networks.unit import MultiScaleDiscriminator, UNITGenerators
from spectac_fast.train.features import feature_extractor

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = {"pixel_mm": 6.8, "slice_mm": 6.8, "gain": 1.7, "size": [32, 32], "fit": "pad"}


def test_style_ignores_where_and_content_does_not():
    maps = torch.randn(1, 3, 4, 5)
    mirrored = [maps.flip(-1)]
    assert float(losses.style([maps], mirrored)) < 1e-10
    assert float(losses.content([maps], mirrored)) > 0.1
    matrix = losses.gram(maps)[0]
    assert float(matrix[0, 1]) == pytest.approx(float((maps[0, 0] * maps[0, 1]).sum() / 60), abs=1e-6)


@torch.no_grad()
def test_vgg_features_under_their_published_names(tmp_path):
    net = feature_extractor("random:3")
    names = [name for name in net.state_dict() if name.endswith("weight")]
    assert names == [f"features.{i}.weight" for i in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)]
    image = torch.rand(1, 1, 32, 32) * 2 - 1
    maps = net(image)
    assert [list(m.shape[1:]) for m in maps] == [[64, 32, 32], [128, 16, 16], [256, 8, 8], [512, 4, 4], [512, 2, 2]]
    assert all(torch.equal(a, b) for a, b in zip(maps, feature_extractor("random:3")(image)))
    assert not torch.equal(maps[0], feature_extractor("random:4")(image)[0])
    torch.save({**net.state_dict(), "classifier.0.weight": torch.zeros(2)}, tmp_path / "vgg19.pth")
    assert torch.equal(feature_extractor(f"vgg19:{tmp_path / 'vgg19.pth'}")(image)[4], maps[4])


@torch.no_grad()
def test_vqgan_features_are_those_of_its_encoder(tmp_path):
    network = {
        "in_channels": 3, "out_channels": 3, "ch": 4, "ch_mult": [1, 2, 2], "num_res_blocks": 1, "attn_levels": [2],
        "z_channels": 2, "embed_dim": 2, "n_embed": 8, "norm_groups": 2}  # fmt: skip
    vqgan, path = VQGAN(**network), tmp_path / "vq.safetensors"
    save_weights(path, vqgan.state_dict(), "vqgan", {"network": network, **CONFIG}, {})
    image = torch.rand(1, 1, 16, 16) * 2 - 1
    maps = feature_extractor(f"vqgan:{path}")(image)
    assert [list(m.shape[1:]) for m in maps] == [[4, 16, 16], [8, 8, 8], [8, 4, 4]]
    encoder = vqgan.encoder
    last = encoder.conv_out(torch.nn.functional.silu(encoder.norm_out(encoder.mid(maps[-1]))))
    assert float((last - encoder(image.expand(-1, 3, -1, -1))).abs().max()) < 1e-5


def test_features_that_do_not_exist_are_refused(tmp_path):
    assert feature_extractor("disc") is None
    for choice in ("vgg19", "vgg16:a.pth", "random:x", ""):
        with pytest.raises(ValueError, match="features"):
            feature_extractor(choice)
    save_weights(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, "pix2pix", {}, {})
    for choice in ("vgg19:none.pth", "vqgan:none.safetensors", f"vqgan:{tmp_path / 'w.safetensors'}"):
        with pytest.raises(InputError):
            feature_extractor(choice)


def number(scalar):
    return scalar.item()  # float() of a scalar with a graph warns


def reaches(terms, *modules):
    """Whether the gradient of a loss reaches every parameter of each module."""
    for module in modules:
        module.zero_grad()
    sum(terms.values()).backward()
    return [all(p.grad is not None and bool(p.grad.isfinite().all()) for p in m.parameters()) for m in modules]


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.rand(2, 1, 32, 32) * 2 - 1, torch.rand(2, 1, 32, 32) * 2 - 1


def small_unet():
    return UNetGenerator(num_downs=5, width=2)


def test_pix2pix_losses(images):
    nc, ac = images
    method = Pix2Pix(small_unet(), PatchDiscriminator(2, 2))
    fake = method(nc)
    terms = method.generator_loss(nc, ac, fake)
    assert number(terms["l1"]) == pytest.approx(100 * number((fake - ac).abs().mean()), rel=1e-5)
    assert reaches(terms, method.generator) == [True]
    assert reaches(method.discriminator_loss(nc, ac, fake), method.discriminator) == [True]


def test_cyclegan_losses(images):
    nc, ac = images
    nets = [ResnetGenerator(width=2, blocks=1), ResnetGenerator(width=2, blocks=1)]
    judges = [PatchDiscriminator(1, 2, norm="instance") for _ in range(2)]
    method = CycleGAN(*nets, *judges)
    cycle = method(nc, ac)
    assert torch.equal(cycle.nc_again, nets[1](nets[0](nc)))
    terms = method.generator_loss(nc, ac, cycle)
    assert number(terms["cycle_ac"]) == pytest.approx(10 * number((nets[0](nets[1](ac)) - ac).abs().mean()), rel=1e-5)
    assert number(terms["identity_nc"]) == pytest.approx(5 * number((nets[1](nc) - nc).abs().mean()), rel=1e-5)
    assert number(terms["gan_ac"]) == pytest.approx(number((judges[0](nets[0](nc)) - 1).square().mean()), rel=1e-5)
    assert reaches(terms, *nets) == [True, True]
    assert reaches(method.discriminator_loss(nc, ac, cycle.fake_nc, cycle.fake_ac), *judges) == [True, True]


def test_reggan_losses(images):
    nc, ac = images
    method = RegGAN(
        ResnetGenerator(width=2, blocks=1), ImageDiscriminator(1, 2, norm="instance"), Registration(2, (2,) * 4, 2)
    )
    fake = method(nc)
    terms = method.generator_loss(nc, ac, fake)
    flow = method.registration(fake, ac)
    assert number(terms["correction"]) == pytest.approx(20 * number((warp(fake, flow) - ac).abs().mean()), rel=1e-5)
    expected = flow.diff(dim=2).square().mean() + flow.diff(dim=3).square().mean()
    assert number(terms["smoothness"]) == pytest.approx(10 * number(expected), rel=1e-5)
    assert reaches(terms, method.generator, method.registration) == [True, True]
    assert reaches(method.discriminator_loss(nc, ac, fake), method.discriminator) == [True]


def test_unit_losses(images):
    nc, ac = images
    method = UNIT(
        UNITGenerators(width=2, residuals=1),
        MultiScaleDiscriminator(width=2, layers=2),
        MultiScaleDiscriminator(width=2, layers=2),
    )
    quiet = method(nc, ac, noise=torch.zeros_like)
    assert torch.equal(quiet.fake_ac, method.gen(nc))
    assert not torch.equal(method(nc, ac).fake_ac, quiet.fake_ac)
    a, b = method.gen.a, method.gen.b
    assert torch.equal(quiet.nc_again, a.dec(b.enc(b.dec(a.enc(nc)))))
    terms = method.generator_loss(nc, ac, quiet)
    rebuilt = (a.dec(a.enc(nc)) - nc).abs().mean() + (b.dec(b.enc(ac)) - ac).abs().mean()
    assert number(terms["rebuild"]) == pytest.approx(10 * number(rebuilt), rel=1e-5)
    divergence = a.enc(nc).square().mean() + b.enc(ac).square().mean()
    assert number(terms["kl"]) == pytest.approx(0.01 * number(divergence), rel=1e-5)
    assert reaches(method.generator_loss(nc, ac, method(nc, ac)), method.gen) == [True]
    judged = method.discriminator_loss(nc, ac, quiet.fake_nc, quiet.fake_ac)
    assert reaches(judged, method.dis_a, method.dis_b) == [True, True]


def test_medgan_losses(images):
    nc, ac = images
    judge = PatchDiscriminator(2, 2, layers=1)
    method = MedGAN(CasNet(blocks=2, num_downs=5, width=2), judge, None)
    fake = method(nc)
    terms = method.generator_loss(nc, ac, fake)
    assert terms.keys() == {"gan", "perceptual"}
    assert number(terms["perceptual"]) > 20 * number((fake - ac).abs().mean())
    assert number(method.generator_loss(nc, ac, ac)["perceptual"]) == 0
    assert reaches(terms, method.generator) == [True]
    assert reaches(method.discriminator_loss(nc, ac, fake), judge) == [True]
    styled = MedGAN(method.generator, judge, feature_extractor("random:0"))
    terms = styled.generator_loss(nc, ac, styled(nc))
    assert terms.keys() == {"gan", "perceptual", "style", "content"}
    assert reaches(terms, method.generator) == [True]
    assert number(styled.generator_loss(nc, ac, ac)["content"]) == 0
