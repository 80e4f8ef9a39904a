"""The bridge in the loops of diffusers and MONAI: the library's own loop ends with the tensor of `sample_bridge`."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from diffusers import UniPCMultistepScheduler
from diffusers.utils import BaseOutput
from gaussian_tables import follow
from monai.data import MetaTensor
from monai.inferers import DiffusionInferer
from monai.networks.nets import DiffusionModelUNet
from torch import nn
from torch.utils._pytree import tree_map

from spectac_fast import BridgeSampler, BrownianBridge, sample_bridge, solver_table
from spectac_fast.integrations.diffusers import BridgeStep, BrownianBridgeScheduler
from spectac_fast.integrations.monai import BridgeInferer
from spectac_fast.integrations.scheduling import BridgeScheduler
from spectac_fast.models.networks.unet import UNetModel

Y = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(5)) * 2 - 1
# (arguments of the scheduler, the same of solver_table): between them every kind of row.
SOLVERS = [
    ({}, {}),
    ({"solver_order": 3, "clip_sample": True}, {"order": 3, "clip": (-1.0, 1.0)}),
    ({"solver_order": 1, "eta": 0.5}, {"order": 1, "eta": 0.5}),
    ({"solver_type": "unipc", "timestep_spacing": "karras"}, {"solver": "unipc", "spacing": "karras"}),
    ({"solver_type": "unipc_bh2"}, {"solver": "unipc_bh2"}),
    ({"solver_type": "sde", "sigma_hi": 2.0}, {"solver": "sde", "sigma_hi": 2.0}),
    (
        {"solver_type": "ancestral", "timestep_spacing": "reference", "boot": False},
        {"solver": "ancestral", "spacing": "reference", "boot": False},
    ),
]


class Pointwise(nn.Module):
    """Of state, condition and timestep, pixel by pixel, so that it rounds alike in any batch."""

    def forward(self, x, timesteps, context=None):
        state, condition = x.chunk(2, dim=1)
        t = timesteps.float().view(-1, *(1,) * (x.dim() - 1)) / 1000
        return 0.5 * torch.tanh(state) - 0.3 * condition * t


def pointwise(x, t, y):
    return Pointwise()(torch.cat([x, y], dim=1), t)


def loop(scheduler, y, **extra):
    """The sampling loop of a diffusers pipeline."""
    x = y
    for t in scheduler.timesteps:
        seen = scheduler.scale_model_input(x, t)
        x = scheduler.step(Pointwise()(torch.cat([seen, y], 1), t.expand(len(y))), t, x, **extra).prev_sample
    return x


@pytest.mark.parametrize("objective", ["grad", "noise", "ysubx", "x0"])
@pytest.mark.parametrize(("named", "options"), SOLVERS)
def test_loops_of_both_libraries_give_our_tensor(objective, named, options):
    process = BrownianBridge(500, max_var=0.3, m_max=0.99, objective=objective)
    table = solver_table(process, 7, **options)
    expected = sample_bridge(pointwise, Y, table)
    scheduler = BrownianBridgeScheduler(500, max_var=0.3, m_max=0.99, prediction_type=objective, **named)
    scheduler.set_timesteps(7)
    assert (scheduler.table.rows == table.rows).all()
    assert torch.equal(loop(scheduler, Y), expected)
    # A second loop needs nothing to be reset.
    inferer = DiffusionInferer(scheduler)
    found = inferer.sample(Y, Pointwise(), conditioning=Y, mode="concat", verbose=False)
    assert torch.equal(found, expected)
    own = BridgeScheduler(process, 7, **options)
    assert torch.equal(
        DiffusionInferer(own).sample(Y, Pointwise(), conditioning=Y, mode="concat", verbose=False), expected
    )
    assert torch.equal(BridgeInferer(process, 7, **options)(Y, Pointwise()), expected)


def test_a_scheduler_comes_back_from_its_folder(tmp_path):
    scheduler = BrownianBridgeScheduler(max_var=0.05, solver_type="unipc", tau2=None, clip_sample=True)
    scheduler.save_pretrained(tmp_path)
    again = BrownianBridgeScheduler.from_pretrained(tmp_path)
    other = BrownianBridgeScheduler.from_config(scheduler.config, solver_type="sde")
    public = [{k: v for k, v in one.config.items() if k[0] != "_"} for one in (again, scheduler)]
    assert public[0] == public[1]
    for one in (scheduler, again, other):
        one.set_timesteps(4)
    assert (again.table.rows == scheduler.table.rows).all()
    assert again.table.clip == (-1.0, 1.0)
    assert (other.table.rows != scheduler.table.rows).any()
    assert other.config.max_var == 0.05
    assert len(again) == again.config.num_train_timesteps == again.num_train_timesteps == 1000


def test_noise_from_a_generator_or_given():
    scheduler = BrownianBridgeScheduler(solver_type="sde")
    scheduler.set_timesteps(5)
    rows = len(scheduler.table.noise_rows)
    noise = torch.randn(rows, *Y.shape, generator=torch.Generator().manual_seed(1))
    expected = sample_bridge(pointwise, Y, scheduler.table, noise=noise)
    assert torch.equal(loop(scheduler, Y, generator=torch.Generator().manual_seed(1)), expected)
    alone = torch.stack(
        [torch.randn(rows, *Y[0].shape, generator=torch.Generator().manual_seed(s)) for s in range(3)], 1
    )
    expected = sample_bridge(pointwise, Y, scheduler.table, noise=alone)
    assert torch.equal(loop(scheduler, Y, generator=[torch.Generator().manual_seed(s) for s in range(3)]), expected)
    with pytest.raises(ValueError, match="one for each of 3 slices, found 2"):
        loop(scheduler, Y, generator=[torch.Generator()] * 2)


def test_seeds_and_samples_are_those_of_the_engine():
    process, seeds = BrownianBridge(), torch.tensor([9, 5, 2**40])
    scheduler = BrownianBridgeScheduler(solver_type="sde")
    scheduler.set_timesteps(4)
    scheduler.set_seeds(seeds, sample=2)
    table = solver_table(process, 4, solver="sde")
    assert torch.equal(loop(scheduler, Y), sample_bridge(pointwise, Y, table, seeds=seeds, sample=2))


def test_volumes_and_half_precision():
    y = torch.rand(2, 1, 4, 6, 5) * 2 - 1
    scheduler = BrownianBridgeScheduler()
    scheduler.set_timesteps(5)
    flat = sample_bridge(pointwise, y.reshape(2, 1, 24, 5), scheduler.table)
    assert torch.equal(loop(scheduler, y), flat.view(y.shape))
    half = loop(scheduler, Y.bfloat16())
    assert half.dtype == torch.bfloat16
    # Five times the state is rounded to 8 bits, and the map is no steeper than 1 in it.
    torch.testing.assert_close(half.float(), loop(scheduler, Y.bfloat16().float()), rtol=0, atol=5 * 2**-8 * 2)


def test_training_pairs_are_those_of_the_process():
    process = BrownianBridge(objective="ysubx")
    scheduler = BrownianBridgeScheduler(prediction_type="ysubx")
    x0, noise, t = torch.randn_like(Y), torch.randn_like(Y), torch.tensor([0, 400, 999])
    expected = process.noised(x0, Y, t, noise=noise)
    with pytest.raises(ValueError, match="call set_source"):
        scheduler.add_noise(x0, noise, t)
    scheduler.set_source(Y)
    assert torch.equal(scheduler.add_noise(x0, noise, t), expected[0])
    assert torch.equal(scheduler.get_target(x0, noise, t), expected[1])
    found = DiffusionInferer(scheduler)(x0, Pointwise(), noise, t, condition=Y, mode="concat")
    assert torch.equal(found, pointwise(expected[0], t, Y))


def test_a_loop_may_begin_in_the_middle_and_be_left():
    scheduler = BrownianBridgeScheduler(solver_order=1)
    scheduler.set_timesteps(timesteps=[900, 500, 100, 0])
    states = []
    sample_bridge(pointwise, Y, scheduler.table, callback=lambda info: states.append(info["x"].clone()))
    whole = loop(scheduler, Y)
    scheduler.set_begin_index(2)
    scheduler.set_source(Y)
    x = states[2]
    for t in scheduler.timesteps[2:]:
        x = scheduler.step(pointwise(x, t.expand(3), Y), t, x).prev_sample
    assert torch.equal(x, whole)
    # Without an index the first timestep says where a loop begins.
    scheduler.set_timesteps(timesteps=[900, 500, 100, 0])
    assert scheduler.begin_index is None
    assert scheduler.step_index is None
    x = states[2]
    for t in scheduler.timesteps[2:]:
        x = scheduler.step(pointwise(x, t.expand(3), Y), t, x).prev_sample
    assert torch.equal(x, whole)
    scheduler.set_begin_index(0)
    scheduler.step(pointwise(Y, torch.tensor([900]), Y), 900, Y)
    assert scheduler.step_index == 1
    assert torch.equal(loop(scheduler, Y), whole)
    with pytest.raises(ValueError, match="next timestep is 900, found 100"):
        scheduler.step(Y, 100, Y)
    scheduler.set_timesteps(timesteps=[900, 500, 100, 0])
    with pytest.raises(ValueError, match="timestep must be one of 900, 500, 100, 0, found 899"):
        scheduler.step(Y, 899, Y)


@pytest.mark.parametrize("looked_up", [False, True])
@pytest.mark.parametrize(("named", "options"), SOLVERS)
def test_image_to_image_begins_in_the_middle_with_every_solver(named, options, looked_up):
    """A network that knows x0 keeps a solver without noise on the path of one noise, and every solver ends at x0."""
    x0, noise = torch.rand(2, *Y.shape, generator=torch.Generator().manual_seed(8)) * 2 - 1
    scheduler = BrownianBridgeScheduler(prediction_type="x0", **named)
    scheduler.set_timesteps(7)
    scheduler.set_source(Y)
    for begin in range(1, 7):
        if not looked_up:
            scheduler.set_begin_index(begin)
        timesteps = scheduler.timesteps[begin:]
        x = scheduler.add_noise(x0, noise, timesteps[:1])
        for t, following in zip(timesteps, [*timesteps[1:], None]):
            x = scheduler.step(x0, t, x).prev_sample
            if following is not None and not scheduler.table.noise_rows[1:]:
                # Some terms of size 1 to 3, rounded once or twice each.
                expected = scheduler.add_noise(x0, noise, following[None])
                torch.testing.assert_close(x, expected, rtol=0, atol=2e-5)
        assert torch.equal(x, x0)


def test_a_step_is_an_output_of_diffusers():
    scheduler = BrownianBridgeScheduler()
    scheduler.set_timesteps(3)
    step = scheduler.step(Y, scheduler.timesteps[0], Y)
    assert isinstance(step, BaseOutput)
    assert isinstance(step, BridgeStep)
    assert list(step.keys()) == ["prev_sample", "pred_original_sample"]
    for pair in (step, step.to_tuple(), (step[0], step["pred_original_sample"]), pickle.loads(pickle.dumps(step))):
        following, denoised = pair
        assert torch.equal(following, step.prev_sample)
        assert torch.equal(denoised, step.pred_original_sample)
    doubled = tree_map(lambda image: 2 * image, step)
    assert torch.equal(doubled.prev_sample, 2 * step.prev_sample)
    scheduler.set_timesteps(3)
    plain = scheduler.step(Y, scheduler.timesteps[0], Y, return_dict=False)
    assert type(plain) is tuple
    assert torch.equal(plain[0], step.prev_sample)


def test_what_samples_is_pickled_and_copied_even_in_the_middle_of_a_loop():
    scheduler = BrownianBridgeScheduler(solver_type="unipc")
    scheduler.set_timesteps(4)
    first = scheduler.step(pointwise(Y, scheduler.timesteps[:1], Y), scheduler.timesteps[0], Y).prev_sample
    expected = None
    for one in (copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler)), scheduler):
        x = first
        for t in one.timesteps[1:]:
            x = one.step(pointwise(x, t.expand(3), Y), t, x).prev_sample
        expected = x if expected is None else expected
        assert torch.equal(x, expected)
    inferer = BridgeInferer(BrownianBridge(), 3)
    for one in (copy.deepcopy(inferer), pickle.loads(pickle.dumps(inferer))):
        assert torch.equal(one(Y, Pointwise()), inferer(Y, Pointwise()))


@pytest.mark.filterwarnings("ignore:.*__array__.*copy.*:DeprecationWarning")
@pytest.mark.parametrize("order", [1, 2])
def test_bh2_is_the_solver_of_diffusers(order):
    """On plain diffusion, which the bridge is without its condition: z = x / (1 - m)."""

    def denoise(z, sigma):
        return torch.tanh(z / (1 + sigma)) - 0.1 * z

    process = BrownianBridge(1000, max_var=0.5, objective="x0")
    table = solver_table(process, 7, solver="unipc_bh2", order=order, boot=False)
    sigmas = torch.tensor(process.sigma[list(table.t)])
    theirs = UniPCMultistepScheduler(solver_order=order, solver_type="bh2", prediction_type="sample")
    theirs._sigma_to_alpha_sigma_t = lambda sigma: (torch.ones_like(sigma), sigma)
    theirs.set_timesteps(7)
    theirs.sigmas = torch.cat([sigmas, torch.zeros(1)])
    z = start = sigmas[0] * torch.randn(1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    for t, sigma in zip(theirs.timesteps, sigmas):
        z = theirs.step(denoise(z, sigma), t, z).prev_sample
    x = ((1 - table.m[0]) * start).numpy()
    _, found = follow(table, lambda i, x: denoise(torch.tensor(x) / (1 - table.m[i]), sigmas[i]).numpy(), x)
    # Their levels pass through float32 once.
    torch.testing.assert_close(torch.tensor(found), z, rtol=0, atol=1e-5)


def test_the_inferer_runs_networks_of_either_kind():
    process = BrownianBridge(max_var=0.05)
    theirs = DiffusionModelUNet(
        2, 2, 1, channels=(8, 8), attention_levels=(False, False), num_res_blocks=1, norm_num_groups=4
    )
    nn.init.normal_(theirs.out[-1].conv.weight, std=0.1)
    ours = UNetModel(in_channels=2, out_channels=1, model_channels=8, channel_mult=(1, 2), num_res_blocks=1,
                     attention_resolutions=(), num_head_channels=8, norm_groups=4)  # fmt: skip
    nn.init.normal_(ours.out[-1].weight, std=0.1)
    inferer = BridgeInferer(process, 4)
    for network in (theirs.eval(), ours.eval()):
        found = inferer(Y, network)
        scheduler = BridgeScheduler(process, 4)
        expected = DiffusionInferer(scheduler).sample(Y, _Named(network), conditioning=Y, mode="concat", verbose=False)
        assert found.std() > 0.1
        # Convolutions of other batch sizes, and our engine's own kernels, round otherwise.
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


class _Named(nn.Module):
    """MONAI calls its networks with timesteps [1] by name."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, timesteps, context=None):
        return self.network(x, timesteps.expand(len(x)))


def test_the_inferer_keeps_meta_data_and_samples():
    process, affine = BrownianBridge(), torch.diag(torch.tensor([6.8, 6.8, 6.8, 1.0], dtype=torch.float64))
    found = BridgeInferer(process, 3)(MetaTensor(Y, affine=affine), Pointwise())
    assert isinstance(found, MetaTensor)
    assert torch.equal(found.affine, affine)
    assert torch.equal(found.as_tensor(), sample_bridge(pointwise, Y, solver_table(process, 3)))
    mean, std = BridgeInferer(process, 3, num_samples=4, reduce="mean_std")(Y, Pointwise())
    expected = BridgeSampler(pointwise, process, 3)(Y, num_samples=4, reduce="mean_std")
    assert torch.equal(mean, expected[0])
    assert torch.equal(std, expected[1])
    with pytest.raises(ValueError, match="mode must be one of concat, crossattn"):
        BridgeInferer(process, mode="film")
