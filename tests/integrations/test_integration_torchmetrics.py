"""`SliceMetrics` inside torchmetrics: equal to `slice_metrics` under any batching, and across processes."""

from __future__ import annotations

import copy
import math
import pickle

import matplotlib
import pytest
import torch
from matplotlib import pyplot as plt
from torchmetrics import MetricCollection

from spectac_fast import slice_metrics, ssim_loss
from spectac_fast.evaluate.table.metrics import SeriesPair, score_patient
from spectac_fast.integrations.torchmetrics import SliceMetrics, SlicePSNR, SliceRMSE, SliceSSIM

X, Y = torch.rand(2, 13, 1, 24, 20, generator=torch.Generator().manual_seed(2)) * 2 - 1


def fed(metric, sizes, x=X, y=Y):
    for a, b in zip(x.split(sizes), y.split(sizes)):
        metric.update(a, b)
    return metric


def rounding(count):
    """Bound on a sum of so many float64 terms and the few operations after it, relative."""
    return (count + 8) * 2.0**-53 * 2


@pytest.mark.parametrize("sizes", [[13], [1] * 13, [5, 8], [0, 12, 1]])
def test_any_batching_gives_the_numbers_of_all_slices(sizes):
    found = fed(SliceMetrics(2.0), sizes).compute()
    ssim, psnr, rmse = slice_metrics(X, Y, data_range=2.0).unbind(1)
    pooled = rmse.square().mean().sqrt()
    expected = {
        "ssim": ssim.mean(), "psnr": 20 * torch.log10(2 / pooled), "rmse": pooled,
        "slice_psnr": psnr.mean(), "slice_rmse": rmse.mean(),
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=rounding(13), atol=0)


def test_it_is_the_pooling_of_the_tables():
    found = fed(SliceMetrics(2.0), [6, 7], X.double(), Y.double()).compute()
    pair = SeriesPair(X[:, 0].numpy(), Y[:, 0].numpy(), (X[:, 0] == X[:, 0]).numpy())
    whole = score_patient([pair]).whole
    for name in ("ssim", "psnr", "rmse", "slice_psnr", "slice_rmse"):
        # Sums over 13 slices of 480 pixels each, in another order.
        assert float(found[name]) == pytest.approx(getattr(whole, name), rel=rounding(13 * 480))


def test_slices_of_several_sizes_and_other_windows():
    settings = {"data_range": 1.0, "window": "uniform", "sample_covariance": True}
    metric, small = SliceMetrics(**settings), (X[:3, :, :9, :9], Y[:3, :, :9, :9])
    metric.update(X, Y)
    metric.update(*small)
    whole, part = (slice_metrics(*pair, **settings) for pair in ((X, Y), small))
    windows, few = 18 * 14, 3 * 3
    ssim = (windows * whole[:, 0].sum() + few * part[:, 0].sum()) / (13 * windows + 3 * few)
    squares = (480 * whole[:, 2].square().sum() + 81 * part[:, 2].square().sum()) / (13 * 480 + 3 * 81)
    found = metric.compute()
    torch.testing.assert_close(found["ssim"], ssim, rtol=rounding(16), atol=0)
    torch.testing.assert_close(found["rmse"], squares.sqrt(), rtol=rounding(16), atol=0)


def test_processes_exchange_sums():
    parts = [fed(SliceMetrics(2.0), [4], X[:4], Y[:4]), fed(SliceMetrics(2.0), [9], X[4:], Y[4:])]
    states = {name: torch.stack([getattr(part, name) for part in parts]) for name in parts[0]._defaults}
    gathered = iter(states.values())
    metric = SliceMetrics(
        2.0, dist_sync_fn=lambda state, group: list(next(gathered)), distributed_available_fn=lambda: True
    )
    metric.update(X[:4], Y[:4])
    found, expected = metric.compute(), fed(SliceMetrics(2.0), [13]).compute()
    merged = fed(SliceMetrics(2.0), [4], X[:4], Y[:4])
    merged.merge_state(parts[1])
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=rounding(13), atol=0)
        torch.testing.assert_close(merged.compute()[name], value, rtol=rounding(13), atol=0)


def test_no_image_is_kept():
    metric = fed(SliceMetrics(2.0), [13])
    kept = [value for value in vars(metric).values() if isinstance(value, torch.Tensor)]
    assert [value.shape for value in kept] == [()] * 7
    assert all(value.dtype == torch.float64 for value in kept)
    assert metric.half().compute()["rmse"].dtype == torch.float64
    metric.reset()
    assert math.isnan(metric.compute()["ssim"])


def test_single_numbers_in_a_collection_share_their_sums():
    collection = MetricCollection([SliceSSIM(2.0), SlicePSNR(2.0), SliceRMSE(2.0)])
    for a, b in zip(X.split(5), Y.split(5)):
        collection.update(a, b)
    expected = fed(SliceMetrics(2.0), [5, 5, 3]).compute()
    found = collection.compute()
    assert {name: float(value) for name, value in found.items()} == {
        "SliceSSIM": float(expected["ssim"]),
        "SlicePSNR": float(expected["psnr"]),
        "SliceRMSE": float(expected["rmse"]),
    }
    assert len(collection.compute_groups) == 1


def test_nan_does_not_pass_and_equal_images_are_perfect():
    spoilt = X.clone()
    spoilt[3, 0, 5, 5] = math.nan
    assert all(math.isnan(value) for value in fed(SliceMetrics(2.0), [13], spoilt).compute().values())
    perfect = fed(SliceMetrics(2.0), [13], Y).compute()
    assert float(perfect["ssim"]) == 1.0
    assert math.isinf(perfect["psnr"])


@pytest.mark.parametrize("kind", [SliceMetrics, SliceSSIM, SlicePSNR, SliceRMSE])
def test_a_training_step_may_log_it(kind):
    network, metric = torch.nn.Conv2d(1, 1, 3, padding=1), kind(data_range=2.0)
    for x, y in zip(X.split(7), Y.split(7)):
        output = network(x)
        value = metric(output, y)
        with torch.no_grad():
            expected = fed(kind(2.0), [len(x)], output, y).compute()
        torch.testing.assert_close(value, expected, rtol=0, atol=0)
        ssim_loss(output, y, data_range=2.0).backward()
    assert network.weight.grad.abs().sum() > 0
    assert not any(getattr(metric, name).requires_grad for name in metric._defaults)


def test_it_takes_the_dtypes_of_a_mixed_precision_step():
    found = fed(SliceMetrics(2.0), [13], X.bfloat16(), Y).compute()
    expected = fed(SliceMetrics(2.0), [13], X.bfloat16().float(), Y).compute()
    assert found == expected
    counts = [(100 * v + 100).short() for v in (X, Y)]
    found = fed(SliceSSIM(200), [13], *counts).compute()
    torch.testing.assert_close(found, fed(SliceSSIM(200), [13], *(v.float() for v in counts)).compute())


def test_it_draws_itself():
    matplotlib.use("Agg")
    for metric in (SliceSSIM(2.0), SliceMetrics(2.0)):
        values = [metric(a, b) for a, b in zip(X.split(5), Y.split(5))]
        for drawn in (metric.plot(), metric.plot(values[0]), metric.plot(values)):
            figure, axes = drawn
            assert axes.lines
            plt.close(figure)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, TypeError, "data_range"),
        ({"data_range": None}, TypeError, "data_range must be a number, found None"),
        ({"data_range": 0.0}, ValueError, "data_range must be positive and finite, found 0.0"),
        ({"data_range": math.nan}, ValueError, "data_range must be positive and finite, found nan"),
        ({"data_range": 1.0, "window": "hann"}, ValueError, "window must be one of gaussian, uniform, found 'hann'"),
        ({"data_range": 1.0, "sample_covariance": None}, TypeError, "sample_covariance must be True or False"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [SliceMetrics, SliceSSIM])
def test_what_is_wrong_is_said_at_construction(kind, arguments, error, message):
    with pytest.raises(error, match=message):
        kind(**arguments)


def test_copies_go_on_counting():
    metric = fed(SliceMetrics(2.0), [5], X[:5], Y[:5])
    for copied in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric)), metric.clone()):
        assert fed(copied, [8], X[5:], Y[5:]).compute() == fed(SliceMetrics(2.0), [5, 8]).compute()
