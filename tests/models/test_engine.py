"""The engine against the plain network: the same function in float32, close to it in half precision."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from golden_bridge import GoldenBridge, needs_golden, relative

import spectac_fast as sf
from spectac_fast.diffusion.sampler import sample_bridge
from spectac_fast.models.engine import blocks, products
from spectac_fast.models.engine.first_stage import FirstStage, only_run, run_stage
from spectac_fast.models.methods.vqgan import VQGAN
from spectac_fast.models.networks.folded_unet import FoldedUNet
from spectac_fast.models.networks.unet import PaletteUNet, UNetModel
from spectac_fast.ops.parts.winograd import COMPILED

KINDS = {
    "shipped": lambda: FoldedUNet(16, (1, 2, 3), 1, (), 16, 8, 8),
    "neighbours": lambda: FoldedUNet(16, (1, 2), 1, (2,), 16, 4, 8, context_slices=2, out_channels=3),
    "published": lambda: UNetModel(8, 32, 4, 2, (2,), (1, 2), num_head_channels=16, use_scale_shift_norm=True,
                                   resblock_updown=True),
    "additive": lambda: UNetModel(6, 16, 3, 1, (1,), (1, 2), num_heads=2, norm_groups=4),
    "pooled": lambda: UNetModel(6, 16, 3, 1, (), (1, 2), conv_resample=False, norm_groups=4),
    "facts": lambda: FoldedUNet(16, (1, 2), 1, (), 16, 4, 8, context_slices=1, facts=("sex", "bmi", "arc")),
    "levels": lambda: PaletteUNet(2, 16, 1, 1, (2,), (1, 2), norm_groups=4, use_scale_shift_norm=True),
}  # fmt: skip


def has_avx2():
    told = Path("/proc/cpuinfo")
    return told.is_file() and " avx2 " in told.read_text()


def network(kind):
    torch.manual_seed(5)
    net = KINDS[kind]().eval().requires_grad_(False)
    # A new network returns zeros.
    for parameter in net.parameters():
        parameter.copy_(torch.randn_like(parameter) / max(parameter[0].numel(), 16) ** 0.5)
    return net


def inputs(net, batch=3, size=16):
    channels = 1 if isinstance(net, FoldedUNet) else net.out_channels
    x, context = torch.randn(batch, net.in_channels, size, size + 8).tensor_split([channels], dim=1)
    return x, context


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_function(kind):
    net = network(kind)
    x, context = inputs(net)
    t = torch.tensor([0.1, 0.5, 0.9]) if kind == "levels" else torch.tensor([0, 37, 999])
    fast = sf.engine(net)
    assert relative(fast(x, t, context), net(x, t, context)) < 1e-5
    if kind != "levels":
        step = fast.prepare(context, (999, 37, 0))
        for value in (37, 999):
            t = torch.full((3,), value)
            assert relative(step(x, t, context), net(x, t, context)) < 1e-5


def test_without_a_context():
    torch.manual_seed(1)
    net = UNetModel(3, 16, 3, 1, (), (1, 2), norm_groups=4).eval().requires_grad_(False)
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([4, 4])
    assert relative(sf.engine(net)(x, t), net(x, t)) < 1e-5
    # A sampler offers the bridge's end to any denoiser.
    assert relative(sf.engine(net).prepare(x, (4,))(x, t, x), net(x, t)) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    net = network("published")
    x, context = inputs(net)
    t = torch.full((3,), 200)
    found = sf.engine(net, dtype)(x, t, context)
    assert found.dtype == torch.float32
    assert relative(found, net(x, t, context)) < 0.05


def first_stage(**changes):
    torch.manual_seed(4)
    shape = {
        "in_channels": 2,
        "out_channels": 2,
        "ch": 16,
        "ch_mult": [1, 2, 8],
        "num_res_blocks": 1,
        "attn_levels": [2],
    }
    stage = VQGAN(**shape, z_channels=3, embed_dim=3, n_embed=16, norm_groups=8, **changes).eval()
    only_run(stage)
    return stage.requires_grad_(False), torch.randn(2, 2, 32, 24)


@pytest.mark.parametrize("middle_attention", [True, False])
def test_first_stages_run_as_they_are_written(middle_attention):
    stage, image = first_stage(middle_attention=middle_attention)
    z = stage.encoder(image)
    assert relative(run_stage(stage.encoder, image), z) < 1e-5
    assert relative(run_stage(stage.decoder, z), stage.decoder(z)) < 1e-5
    h = stage.encode(image)
    assert relative(h, stage.quant_conv(z)) < 1e-5
    assert relative(stage.decode_codes(h), stage.decoder(stage.post_quant_conv(h))) < 1e-5


def test_first_stages_follow_their_weights():
    stage, image = first_stage()
    before = run_stage(stage.encoder, image)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(stage)))
    with torch.no_grad():
        stage.encoder.conv_out.bias.add_(1.0)
    assert relative(run_stage(stage.encoder, image), before + 1.0) < 1e-5
    assert relative(run_stage(copied.encoder, image), before) < 1e-5
    stage.load_state_dict(copied.state_dict())
    assert torch.equal(run_stage(stage.encoder, image), before)


def test_first_stages_run_so_only_where_nobody_trains_them(monkeypatch):
    stage, image = first_stage()
    calls = []
    monkeypatch.setattr(FirstStage, "__call__", lambda self, x: calls.append(self))
    run_stage(stage.encoder, image)
    assert len(calls) == 1
    stage.encoder.only_runs = False
    assert torch.equal(run_stage(stage.encoder, image), stage.encoder(image))
    assert len(calls) == 1


def test_first_stages_keep_what_a_gradient_needs():
    stage, image = first_stage()
    run_stage(stage.encoder, image)
    run_stage(stage.encoder, image.requires_grad_()).sum().backward()
    assert float(image.grad.abs().sum()) > 0
    stage.requires_grad_()
    stage.encode(image.detach()).sum().backward()
    assert all(weight.grad is not None for weight in stage.encoder.parameters())
    stage.requires_grad_(False)
    tangent = torch.func.jvp(lambda x: run_stage(stage.encoder, x), (image.detach(),), (torch.ones_like(image),))[1]
    assert float(tangent.abs().sum()) > 0
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert run_stage(stage.encoder, image).dtype == torch.bfloat16


@pytest.mark.parametrize("vectors", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
def test_products_are_those_of_torch_and_survive_copies(vectors, with_bias, monkeypatch):
    if not vectors:
        monkeypatch.setattr(products, "_has_vectors", lambda: False)
    matrices, rows = torch.randn(3, 17, 32), torch.randn(3, 5, 17)
    bias = torch.randn(32) if with_bias else None
    expect = torch.bmm(rows.double(), matrices.double()) + (0 if bias is None else bias.double())
    made = products.Products(matrices)
    for each in (made, copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        out = torch.full((3, 5, 32), torch.nan)
        each(rows, bias, out)
        assert relative(out.double(), expect) < 1e-6


def test_columns_of_no_whole_strip_are_left_to_torch():
    matrices, rows, out = torch.randn(3, 17, 9), torch.randn(3, 5, 17), torch.empty(3, 5, 9)
    products.Products(matrices)(rows, None, out)
    assert relative(out.double(), torch.bmm(rows.double(), matrices.double())) < 1e-6


@pytest.mark.skipif(not COMPILED, reason="needs the compiled extension (a C++ compiler at installation)")
@pytest.mark.skipif(not has_avx2(), reason="needs a processor with AVX2, of which /proc/cpuinfo tells")
def test_this_machine_multiplies_in_strips():
    """Else the speed of latent bridges on a CPU would be lost without a word."""
    assert products.serves(256, 128)
    assert not products.serves(256, 120)


@pytest.mark.parametrize("positions", [1, 9])
def test_a_map_of_channels_is_the_layer(positions):
    layer = torch.nn.Conv1d(256, 192, 1)
    own = blocks.Positions(layer, torch.float32, torch.device("cpu"))
    x = torch.randn(2, positions, 3, 256)
    expect = layer.double()(x.double().flatten(1, 2).mT).mT.view(2, positions, 3, 192)
    assert relative(own(x).double(), expect.detach()) < 1e-6
    strided = torch.randn(2, 256, positions, 3).permute(0, 2, 3, 1)
    expect = layer(strided.double().flatten(1, 2).mT).mT.view(2, positions, 3, 192)
    assert relative(own(strided).double(), expect.detach()) < 1e-6


@needs_golden
@pytest.mark.parametrize("variant", ["bbdm", "bbdm_eta0", "bbdm_ysubx", "lbbdm", "lbbdm_rescaler", "cpdm"])
def test_golden_paths(variant):
    golden = GoldenBridge(variant)
    io, table = golden.io, golden.table()
    context = io.get("context", io["y_latent"])
    noise = io["noises"][list(table.noise_rows)]
    states = []
    fast = sf.engine(golden.model).prepare(context, table.t)
    final = sample_bridge(
        fast,
        io["y_latent"],
        table,
        noise=noise if len(noise) else None,
        callback=lambda seen: states.append(seen["x"].clone()),
    )
    assert float((torch.stack(states) - io["x_path"][:-1]).abs().max()) < 1e-4
    assert float((final - io["final"]).abs().max()) < 1e-4


def test_shipped_model_is_the_same_and_alone_as_in_a_batch():
    torch.manual_seed(0)
    translator = sf.load("bbdm", device="cpu")
    nc, t = torch.rand(4, 1, 64, 64) * 2 - 1, torch.zeros(4, dtype=torch.int64)
    seen = nc.expand(-1, 1 + len(translator.context_mm), -1, -1)
    found = translator.engine(nc, t, seen)
    with torch.no_grad():
        assert float((found - translator.model(nc, t, seen)).abs().max()) < 1e-5
    alone = torch.cat([translator.engine(*one) for one in zip(nc.split(1), t.split(1), seen.split(1))])
    assert float((found - alone).abs().max()) < 1e-5


def test_refusals():
    with pytest.raises(TypeError, match="model must hold a UNetModel or a FoldedUNet, found Linear"):
        sf.engine(torch.nn.Linear(1, 1))
    net = network("shipped")
    with pytest.raises(ValueError, match="dtype must be"):
        sf.engine(net, torch.float64)
    x, context = inputs(net)
    step = sf.engine(net).prepare(context, (10, 20))
    for t in ([11, 11, 11], [10, 20, 10]):
        with pytest.raises(ValueError, match="t must be one of"):
            step(x, torch.tensor(t))


def test_autocast_chooses_the_body_and_leaves_the_rest():
    translator = sf.load("bbdm", device="cpu")
    nc = torch.rand(2, 1, 64, 64) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        half = translator.translate(nc)
    full = translator.translate(nc)
    assert translator.engines.keys() == {torch.bfloat16, torch.float32}
    assert torch.equal(full, sf.load("bbdm", device="cpu").translate(nc))
    assert 0 < float((half - full).abs().max()) < 0.1
    assert half.dtype == torch.float32
