"""What peers' own suites ask of such a part, asked of ours; what is refused by design is listed with its reason.

Written anew after scikit-image's test_structural_similarity, torchmetrics' MetricTester and diffusers'
SchedulerCommonTest.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics import MetricCollection, MinMaxMetric
from torchmetrics.wrappers import BootStrapper, MetricTracker

from spectac_fast import slice_metrics, ssim_loss
from spectac_fast.integrations.diffusers import BrownianBridgeScheduler
from spectac_fast.integrations.torchmetrics import SliceMetrics, SlicePSNR, SliceRMSE, SliceSSIM

INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
FLOATS = ["float16", "float32", "float64"]
# dtype -> why slice_metrics and ssim_loss do not take it.
REFUSED = {"bool": "a mask has no luminance: its SSIM would be a number without a meaning", "complex64": "no order"}


def counts(dtype):
    rng = np.random.default_rng(5)
    x = rng.integers(0, 100, (24, 25)).astype(np.float64)
    y = np.clip(x + rng.normal(0, 9, x.shape), 0, 120)
    return x.round().astype(dtype), y.round().astype(dtype)


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
@pytest.mark.parametrize("gaussian", [False, True])
def test_every_dtype_of_scikit_image(dtype, gaussian):
    x, y = counts(dtype)
    form = {"gaussian_weights": True, "sigma": 1.5} if gaussian else {}
    expected = structural_similarity(x, y, data_range=120, use_sample_covariance=True, **form)
    window = "gaussian" if gaussian else "uniform"
    images = [torch.from_numpy(v)[None] for v in (x, y)]
    ssim, psnr, _ = slice_metrics(*images, data_range=120, window=window, sample_covariance=True)[0].tolist()
    # Of half precision scikit-image computes in float32.
    assert ssim == pytest.approx(expected, abs=1e-4 if dtype == "float16" else 1e-6)
    wide = [v.astype(np.float64) for v in (x, y)]
    assert psnr == pytest.approx(peak_signal_noise_ratio(*wide, data_range=120), abs=1e-9)


@pytest.mark.parametrize("dtype", REFUSED)
def test_dtypes_that_are_refused(dtype):
    image = torch.zeros(1, 12, 12, dtype=getattr(torch, dtype))
    for function in (slice_metrics, ssim_loss):
        with pytest.raises(TypeError, match=f"x must be .*, found {dtype}"):
            function(image, image, data_range=1.0)


def test_cases_of_scikit_image():
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.uniform(0, 255, (2, 1, 30, 30)))
    assert slice_metrics(x, x, data_range=255)[0, 0] == 1
    assert slice_metrics(x, y, data_range=255)[0, 0] < 0.3
    colours = torch.from_numpy(rng.uniform(0, 255, (2, 1, 3, 30, 30)))
    together = slice_metrics(*colours, data_range=255)[0, 0]
    apart = torch.stack([slice_metrics(*colours[:, :, c], data_range=255)[0, 0] for c in range(3)])
    torch.testing.assert_close(together, apart.mean(), rtol=0, atol=1e-12)
    with pytest.raises(TypeError, match="data_range"):
        slice_metrics(x, y)
    with pytest.raises(ValueError, match="sides of at least 11"):
        slice_metrics(x[:, :9, :9], y[:, :9, :9], data_range=255)


X, Y = torch.rand(2, 6, 1, 14, 15, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", [SliceMetrics, SliceSSIM, SlicePSNR, SliceRMSE])
def test_cases_of_torchmetrics(kind):
    metric = kind(1.0)
    for a, b in zip(X.split(2), Y.split(2)):
        alone = kind(1.0)
        alone.update(a, b)
        torch.testing.assert_close(metric(a, b), alone.compute(), rtol=0, atol=0)
    whole = kind(1.0)
    whole.update(X, Y)
    torch.testing.assert_close(metric.compute(), whole.compute(), rtol=1e-12, atol=0)
    # A constant of the class stays what it is, a copy is another metric, and a reset begins anew.
    with pytest.raises(RuntimeError, match="Can't change const"):
        metric.higher_is_better = False
    assert hash(metric) != hash(kind(1.0))
    metric.persistent(True)
    other = kind(1.0)
    other.load_state_dict(metric.state_dict())
    assert all(torch.equal(getattr(other, name), getattr(metric, name)) for name in metric._defaults)
    metric.reset()
    metric.update(X, Y)
    torch.testing.assert_close(metric.compute(), whole.compute(), rtol=0, atol=0)
    for changed in (metric.half(), metric.float(), metric.double()):
        torch.testing.assert_close(changed.compute(), whole.compute())


def test_wrappers_of_torchmetrics():
    tracker = MetricTracker(MetricCollection([SliceSSIM(1.0), SliceRMSE(1.0)]), maximize=[True, False])
    for noise in (0.3, 0.1):
        tracker.increment()
        tracker.update(X, X + noise * Y)
    assert tracker.best_metric(return_step=True)[1] == {"SliceSSIM": 1, "SliceRMSE": 1}
    spread = BootStrapper(SliceRMSE(1.0), num_bootstraps=4)
    spread.update(X, Y)
    assert spread.compute()["std"] >= 0
    extremes = MinMaxMetric(SlicePSNR(1.0))
    for a, b in zip(X.split(3), Y.split(3)):
        extremes(a, b)
    assert extremes.compute()["max"] >= extremes.compute()["min"]
    both = SliceSSIM(1.0) + SliceRMSE(1.0)
    both.update(X, Y)
    assert both.compute() > 0


# Arguments of the scheduler that SchedulerCommonTest would vary, each in turn.
CONFIGURATIONS = [
    {"num_train_timesteps": 200}, {"m_max": 0.99}, {"max_var": 0.05}, {"schedule": "sin"},
    {"solver_type": "unipc"}, {"solver_type": "unipc_bh2"}, {"solver_type": "sde"}, {"solver_type": "ancestral"},
    {"solver_order": 1, "eta": 0.3}, {"timestep_spacing": "karras"}, {"sigma_hi": 2.0}, {"boot": False},
    {"clip_sample": True, "clip_sample_range": 0.5}, {"prediction_type": "noise"}, {"prediction_type": "x0"},
]  # fmt: skip
# Checks of SchedulerCommonTest that do not hold, and why.
NOT_HELD = {
    "test_step_shape": "asks for steps at arbitrary timesteps in any order; a bridge's row belongs to one timestep",
    "test_trained_betas": "a bridge has no betas",
    "num_inference_steps is None at first": "a scheduler is ready, with six evaluations, as soon as it is made",
}


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda c: next(iter(c)))
def test_cases_of_diffusers(configuration, tmp_path):
    scheduler = BrownianBridgeScheduler(**configuration)
    scheduler.save_config(tmp_path)
    again = BrownianBridgeScheduler.from_pretrained(tmp_path)
    other = BrownianBridgeScheduler.from_config(scheduler.config)
    sample, output = X, 0.1 * Y
    for steps in (3, 10):
        results = []
        for one in (scheduler, again, other):
            one.set_timesteps(steps)
            assert len(one.timesteps) == steps == one.num_inference_steps
            state = sample
            for t in one.timesteps:
                state = one.step(output, t, one.scale_model_input(state, t)).prev_sample
            results.append(state)
        assert results[0].shape == sample.shape
        assert all(torch.equal(result, results[0]) for result in results[1:])
    scheduler.set_timesteps(3)
    named = scheduler.step(output, scheduler.timesteps[0], sample)
    scheduler.set_timesteps(3)
    plain = scheduler.step(output, scheduler.timesteps[0], sample, return_dict=False)
    assert all(torch.equal(a, b) for a, b in zip(named.to_tuple(), plain))
    assert float(scheduler.init_noise_sigma) == 1.0
    assert all(compatible is not None for compatible in scheduler.compatibles)
    parameters = inspect.signature(BrownianBridgeScheduler.__init__).parameters
    assert ("kwargs" in parameters) == (len(scheduler._deprecated_kwargs) > 0)
    scheduler.set_source(Y)
    for image in (sample, sample.half()):
        noised = scheduler.add_noise(image, torch.randn_like(image), torch.tensor([5]))
        assert (noised.shape, noised.dtype) == (image.shape, image.dtype)


def test_what_does_not_hold_is_so():
    """One line for each of `NOT_HELD`."""
    assert len(NOT_HELD) == 3
    scheduler = BrownianBridgeScheduler()
    assert scheduler.num_inference_steps == 6
    scheduler.set_timesteps(4)
    assert not hasattr(scheduler, "betas")
    with pytest.raises(ValueError, match="timestep must be one of"):
        scheduler.step(X, 1, X)
    # And one that the suite does not know: a loop ends where it began.
    assert scheduler.step_index is None
