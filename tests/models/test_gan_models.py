"""The GAN translators beyond parity: published names, sizes, dropout by seed, and files that do not fit."""

from __future__ import annotations

import json

import pytest
import torch
from places import KEYS

from spectac_fast.checkpoints import layouts
from spectac_fast.checkpoints.weights import load_weights, save_weights
from spectac_fast.cli import main
from spectac_fast.errors import InputError
from spectac_fast.models.methods.reggan import ImageDiscriminator
from spectac_fast.models.networks.build import build_network
from spectac_fast.models.networks.casnet import CasNet
from spectac_fast.models.networks.patchgan import PatchDiscriminator
from spectac_fast.models.networks.registration import Registration, warp
from spectac_fast.models.networks.resnet import ResnetGenerator
from spectac_fast.models.networks.unet_generator import UNetGenerator
from spectac_fast.models.networks.unit import MultiScaleDiscriminator, SliceLayerNorm, VAEGenerator
from spectac_fast.models.published import read_published
from spectac_fast.models.registry import load
from spectac_fast.models.translator import Translator

pytestmark = pytest.mark.usefixtures("one_thread")


PUBLISHED = {
    "pix2pix_netG_unet256_bn_c1": lambda: UNetGenerator(),
    "pix2pix_netG_unet256_bn_c3": lambda: UNetGenerator(3, 3),
    "pix2pix_netD_basic_bn_c2": lambda: PatchDiscriminator(2),
    "pix2pix_netD_basic_bn_c6": lambda: PatchDiscriminator(6),
    "cyclegan_netG_resnet9_in_c1": lambda: ResnetGenerator(),
    "cyclegan_netG_resnet9_in_c3": lambda: ResnetGenerator(3, 3),
    "cyclegan_netD_basic_in_c1": lambda: PatchDiscriminator(1, norm="instance"),
    "cyclegan_netD_basic_in_c3": lambda: PatchDiscriminator(3, norm="instance"),
    "reggan_netD_c1": lambda: ImageDiscriminator(1, norm="instance"),
    "reggan_R_A_c1": lambda: Registration(),
    "unit_gen_c1": lambda: VAEGenerator(),
    "unit_gen_c3": lambda: VAEGenerator(3),
    "unit_dis_c1": lambda: MultiScaleDiscriminator(),
    "unit_dis_c3": lambda: MultiScaleDiscriminator(3),
}  # fmt: skip

# One small network of every method, at sizes a test can afford.
NETWORKS = {
    "pix2pix": {"kind": "unet_generator", "num_downs": 5, "width": 2, "dropout": "seeded"},
    "cyclegan": {"kind": "resnet_generator", "width": 2, "blocks": 2},
    "reggan": {"kind": "unet_generator", "num_downs": 5, "width": 2, "skips": False},
    "medgan": {"kind": "casnet", "blocks": 2, "num_downs": 5, "width": 2},
    "unit": {"kind": "unit", "width": 2, "residuals": 1},
}
CONFIG = {"pixel_mm": 6.8, "slice_mm": 6.8, "gain": 1.7, "size": [32, 32], "fit": "pad"}


def names_and_shapes(state):
    return {name: list(value.shape) for name, value in state.items()}


@pytest.mark.skipif(not KEYS.is_dir(), reason="needs the published key lists in ../shared/reference/keys")
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names_and_shapes(name):
    described = json.loads((KEYS / f"{name}.json").read_text())
    with torch.device("meta"):
        network = PUBLISHED[name]()
    assert names_and_shapes(network.state_dict()) == {key: value[0] for key, value in described["keys"].items()}
    assert sum(p.numel() for p in network.parameters()) == described["params"]


@pytest.mark.skipif(not KEYS.is_dir(), reason="needs the published key lists in ../shared/reference/keys")
def test_published_names_of_the_generator_in_three_parts():
    expected = {
        key: value[0] for key, value in json.loads((KEYS / "reggan_netG_A2B_c1.json").read_text())["keys"].items()
    }
    tensors = {key: torch.empty(shape, device="meta") for key, shape in expected.items()}
    found = read_published("reggan", tensors, "it")
    with torch.device("meta"):
        network = build_network(found.config["network"])
    assert names_and_shapes(network.state_dict()) == names_and_shapes(found.tensors)
    assert names_and_shapes(layouts.layout("reggan").write(found.tensors, found.config)) == expected


def test_casnet_is_as_large_as_the_paper_says():
    with torch.device("meta"):
        network = CasNet()
    assert sum(p.numel() for p in network.parameters()) == 6 * 54_407_809


@pytest.fixture(params=NETWORKS)
def model(request, tmp_path):
    path = tmp_path / f"{request.param}.safetensors"
    torch.manual_seed(0)
    state = build_network(NETWORKS[request.param]).state_dict()
    save_weights(path, state, request.param, {"network": NETWORKS[request.param], **CONFIG}, {"seed": 0})
    return load(path, device="cpu")


def test_every_method_translates(model):
    nc = torch.randn(5, 1, 20, 32)
    together = model.translate(nc, steps=3, samples=4, solver="dbim")
    assert isinstance(model, Translator)
    assert together.shape == nc.shape
    seeds = torch.arange(5)
    alone = torch.cat([model.translate(nc[i : i + 1], seeds[i : i + 1]) for i in range(5)])
    assert float((together - alone).abs().max()) < 1e-5
    with pytest.raises(ValueError, match="nc must be float32"):
        model.translate(nc.double())


@pytest.mark.parametrize(
    "network",
    [
        UNetGenerator(num_downs=6, width=2, dropout="seeded"),
        ResnetGenerator(width=2, blocks=1, dropout="seeded"),
        CasNet(blocks=2, num_downs=6, width=2, dropout="seeded"),
    ],
)
@torch.no_grad()
def test_dropout_belongs_to_the_slice(network):
    network, nc, seeds = network.eval(), torch.randn(2, 1, 64, 64), torch.tensor([7, -3])
    first = network(nc, seeds)
    assert torch.equal(first, network(nc, seeds))
    assert float((first[1:] - network(nc[1:], seeds[1:])).abs().max()) < 1e-5
    assert float((first - network(nc, seeds + 1)).abs().max()) > 1e-4


def test_dropout_halves_and_keeps_the_mean():
    from spectac_fast.models.networks.norms import SliceDropout

    x, seeds = torch.ones(2, 8, 32, 33), torch.tensor([1, 2])
    found = SliceDropout(4, active=True).eval()(x, seeds)
    assert set(found.unique().tolist()) == {0.0, 2.0}
    assert abs(float(found.mean()) - 1) < 0.03
    other = SliceDropout(5, active=True).eval()(x, seeds)
    assert abs(float((found * other).mean()) - 1) < 0.06
    assert torch.equal(SliceDropout(4, active=False).eval()(x, seeds), x)


@pytest.mark.parametrize("name", NETWORKS)
def test_images_are_the_same_with_and_without_gradients(name):
    """Without them, norm and activation run as one operator."""
    network, nc = build_network(NETWORKS[name]).eval(), torch.randn(2, 1, 64, 64)
    with_gradients = network(nc).detach()
    with torch.no_grad():
        assert float((network(nc) - with_gradients).abs().max()) < 1e-5


@pytest.mark.parametrize("config", [
    {"kind": "unet_generator", "num_downs": 4},
    {"kind": "unet_generator", "norm": "layer"},
    {"kind": "resnet_generator", "dropout": "always"},
    {"kind": "casnet", "blocks": 0},
])  # fmt: skip
def test_arguments_that_make_no_network_are_refused(config):
    with pytest.raises(ValueError, match="must be"):
        build_network(config)


def test_neighbouring_slices_are_channels(tmp_path):
    network = {"kind": "resnet_generator", "width": 2, "blocks": 1, "in_channels": 3}
    state, path = build_network(network).state_dict(), tmp_path / "w.safetensors"
    save_weights(path, state, "pix2pix", {"network": network, "context_slices": 1, **CONFIG}, {})
    model, nc, around = load(path, device="cpu"), torch.randn(2, 1, 32, 32), torch.randn(2, 2, 32, 32)
    assert model.context_mm == (-6.8, 6.8)
    with torch.no_grad():
        expected = model.model(torch.cat([nc, around], dim=1))
    assert float((model.translate(nc, neighbours=around) - expected).abs().max()) < 1e-5
    save_weights(path, state, "pix2pix", {"network": network, "context_slices": 2, **CONFIG}, {})
    with pytest.raises(InputError, match="must take 5 channels, found 3"):
        load(path, device="cpu")


def test_colour_networks_see_grey_copies(tmp_path):
    network = {"kind": "resnet_generator", "width": 2, "blocks": 1, "in_channels": 3, "out_channels": 3}
    save_weights(tmp_path / "w.safetensors", build_network(network).state_dict(), "cyclegan",
                 {"network": network, **CONFIG}, {})  # fmt: skip
    model, nc = load(tmp_path / "w.safetensors", device="cpu"), torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        expected = model.model(nc.expand(-1, 3, -1, -1)).mean(dim=1, keepdim=True)
    assert float((model.translate(nc) - expected).abs().max()) < 1e-6


@pytest.mark.parametrize("config", [
    {"kind": "unet_generator", "num_downs": 6, "width": 2},
    {"kind": "unet_generator", "num_downs": 5, "width": 2, "norm": "instance", "in_channels": 3},
    {"kind": "unet_generator", "num_downs": 5, "width": 2, "skips": False, "out_channels": 2},
    {"kind": "resnet_generator", "width": 2, "blocks": 6},
    {"kind": "resnet_generator", "width": 3, "blocks": 2, "norm": "batch1", "dropout": "off", "in_channels": 2},
    {"kind": "unit", "width": 3, "downs": 1, "residuals": 2, "channels": 3},
])  # fmt: skip
def test_layouts_read_back_what_they_write(config):
    name = "unit" if config["kind"] == "unit" else "reggan"
    ours = build_network(config).state_dict()
    written, _ = layouts.flat_state(layouts.layout(name).write(ours, {"network": config}), None, "it")
    found = read_published(name, written, "it")
    assert config.items() <= found.config["network"].items()
    assert found.tensors.keys() == ours.keys()
    build_network(found.config["network"]).load_state_dict(found.tensors)


@pytest.mark.parametrize(("layout", "network"), [
    ("pix2pix", {"kind": "unet_generator", "num_downs": 5, "width": 2}),
    ("cyclegan", {"kind": "resnet_generator", "width": 2, "blocks": 1}),
    ("reggan", {"kind": "resnet_generator", "width": 2, "blocks": 1}),
    ("unit", {"kind": "unit", "width": 2, "residuals": 1}),
])  # fmt: skip
def test_neighbours_of_a_file_are_read_off_its_channels(tmp_path, capsys, layout, network):
    """Two on either side are five channels, which nothing else can be; three may be the copies of a colour network."""
    for count in (1, 2):
        config = {**network, "context_slices": count}
        weights, back, again = (tmp_path / f"{count}{name}" for name in ("w.safetensors", "b.pth", "a.safetensors"))
        save_weights(weights, build_network(config).state_dict(), layout, {"network": config, **CONFIG}, {})
        assert main(["export", str(weights), "--layout", layout, "-o", str(back)]) == 0
        command = ["import", str(back), "--layout", layout, "-o", str(again), "--size", "32", "32", "--fit", "pad"]
        if count == 1:
            assert main(command) == 2
            assert "0 for copies of the slice, 1 for its neighbours" in capsys.readouterr().err
            assert not again.exists()
            command += ["--set", "context_slices=1"]
        assert main(command) == 0
        nc, beside = torch.randn(2, 1, 32, 32), torch.randn(2, 2 * count, 32, 32)
        one, other = (load(path, device="cpu") for path in (weights, again))
        assert one.context_mm == other.context_mm
        assert len(one.context_mm) == 2 * count
        assert torch.equal(one.translate(nc, neighbours=beside), other.translate(nc, neighbours=beside))


def test_an_even_number_of_channels_is_nobodys(tmp_path, capsys):
    config = {"kind": "resnet_generator", "width": 2, "blocks": 1, "in_channels": 2}
    torch.save(build_network(config).state_dict(), tmp_path / "odd.pth")
    assert (
        main(["import", str(tmp_path / "odd.pth"), "--layout", "cyclegan", "-o", str(tmp_path / "o.safetensors")]) == 2
    )
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "a generator from 2 channels to one" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd.pth"]


def test_tensors_that_share_memory_are_stored(tmp_path):
    one = torch.randn(3, 4)
    save_weights(tmp_path / "w.safetensors", {"a": one, "b": one, "c": one.t()}, "unit", {}, {})
    found, _ = load_weights(tmp_path / "w.safetensors")
    assert all(torch.equal(found[name], value) for name, value in (("a", one), ("b", one), ("c", one.t())))


def test_a_shared_latent_is_one_set_of_weights_under_both_names(tmp_path):
    """A step on NC alone moves AC's residual blocks too, and an exported file holds what any UNIT's does."""
    config = {"kind": "unit", "width": 2, "residuals": 1, "shared_latent": True}
    shared, apart = build_network(config), build_network(NETWORKS["unit"])
    assert shared.state_dict().keys() == apart.state_dict().keys()
    trunk = sum(p.numel() for part in (apart.b.enc.model[-1], apart.b.dec.model[0]) for p in part.parameters())
    assert sum(p.numel() for p in shared.parameters()) == sum(p.numel() for p in apart.parameters()) - trunk

    nc = torch.randn(1, 1, 32, 32)
    before = {name: value.clone() for name, value in shared.state_dict().items()}
    shared.a.dec(shared.a.enc(nc)).square().sum().backward()
    torch.optim.SGD(shared.parameters(), 0.1).step()
    after = shared.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    ours = {name for name in moved if name.startswith("b.")}
    assert {f"b.{name[2:]}" for name in moved if name.startswith(("a.enc.model.3.", "a.dec.model.0."))} == ours != set()

    save_weights(tmp_path / "w.safetensors", after, "unit", {"network": config, **CONFIG}, {})
    found = load(tmp_path / "w.safetensors", device="cpu").translate(nc)
    torch.testing.assert_close(found, shared.eval()(nc).detach())
    written, _ = layouts.flat_state(layouts.layout("unit").write(after, {"network": config}), None, "it")
    assert read_published("unit", written, "it").tensors.keys() == after.keys()


def test_a_generator_under_both_names_is_refused():
    ours = build_network(NETWORKS["cyclegan"]).state_dict()
    theirs = layouts.layout("reggan").write(ours, {"network": NETWORKS["cyclegan"]})
    with pytest.raises(InputError, match="both"):
        read_published("reggan", {**theirs, **ours}, "it")


def test_statistics_of_old_instance_norms_are_dropped():
    config = NETWORKS["cyclegan"]
    ours = build_network(config).state_dict()
    old = {"model.2.running_mean": torch.zeros(2), "model.10.conv_block.2.running_var": torch.ones(8)}
    found = read_published("cyclegan", {**ours, **old}, "it")
    assert found.tensors.keys() == ours.keys()


@pytest.mark.parametrize(("change", "word"), [
    (lambda tensors: tensors.update({"a.more": torch.zeros(1)}), "a.more"),
    (lambda tensors: tensors.pop("b.dec.model.4.norm.beta"), "beta"),
    (lambda tensors: tensors.update({"b.enc.model.0.conv.bias": torch.zeros(3)}), "shape"),
])  # fmt: skip
def test_every_tensor_is_accounted_for(change, word):
    tensors = build_network(NETWORKS["unit"]).state_dict()
    change(tensors)
    with pytest.raises(InputError, match=word):
        read_published("unit", tensors, "it")


@pytest.mark.parametrize("layout", ["pix2pix", "cyclegan", "reggan", "unit"])
def test_files_of_something_else_are_refused(layout):
    read = layouts.layout(layout).read
    discriminator = PatchDiscriminator(1, 2).state_dict()
    for tensors in (discriminator, {"weight": torch.zeros(2)}, {"model.model.0.weight": torch.zeros(3)}):
        with pytest.raises(InputError, match=r"^some\.pth ") as caught:
            read(tensors, "some.pth")
        assert "\n" not in str(caught.value)


def test_registration_of_small_images_needs_fewer_levels():
    moving = torch.randn(1, 1, 64, 64)
    with pytest.raises(ValueError, match="at least 256x256"):
        Registration(2, (2,) * 7, 2)(moving, moving)
    assert Registration(2, (2,) * 5, 2)(moving, moving).shape == (1, 2, 64, 64)


def test_warp_moves_by_pixels():
    image = torch.rand(1, 2, 6, 9)
    shift = torch.zeros(1, 2, 6, 9)
    assert float((warp(image, shift) - image).abs().max()) < 1e-5
    shift[:, 0], shift[:, 1] = 2.0, -1.0
    assert float((warp(image, shift)[..., :4, 1:] - image[..., 2:, :-1]).abs().max()) < 1e-5
    assert float((warp(image, shift)[..., 4:, 0] - image[..., 5:, 0]).abs().max()) < 1e-5


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (3, 70)])
def test_patches_have_the_published_size(layers, field):
    x = torch.randn(1, 1, 160, 160, requires_grad=True)
    judged = PatchDiscriminator(1, 4, layers, norm="eval").eval()(x)
    judged[0, 0, judged.shape[2] // 2, judged.shape[3] // 2].backward()
    assert int(x.grad[0, 0].abs().sum(dim=1).count_nonzero()) == field


@torch.no_grad()
def test_layer_norm_of_slices_divides_by_the_unbiased_deviation():
    x = torch.randn(2, 3, 1, 2)
    norm = SliceLayerNorm(3)
    for one, found in zip(x, norm(x)):
        expected = (one - one.mean()) / (one.flatten().std() + 1e-5)
        expected = expected * norm.gamma[:, None, None] + norm.beta[:, None, None]
        assert float((found - expected).abs().max()) < 1e-6
