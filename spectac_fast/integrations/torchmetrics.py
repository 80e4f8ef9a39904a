"""`slice_metrics` as metrics of torchmetrics: sums are kept and no image, so any batching gives the same numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

try:
    from torchmetrics import Metric
except ImportError as error:
    raise ImportError(
        "spectac_fast.integrations.torchmetrics needs torchmetrics: pip install 'spectac_fast[torchmetrics]'."
    ) from error

from spectac_fast.ops import slice_metrics
from spectac_fast.ops.slice_metrics import GAUSSIAN_TAPS, UNIFORM_TAPS

__all__ = ["SliceMetrics", "SlicePSNR", "SliceRMSE", "SliceSSIM"]

_TAPS = {"gaussian": GAUSSIAN_TAPS, "uniform": UNIFORM_TAPS}
_SUMS = ("windows", "ssim", "pixels", "squares", "slices", "slice_psnr", "slice_rmse")


class SliceMetrics(Metric):
    """SSIM, PSNR and RMSE of all slices seen, as a dictionary of float64 scalars.

    ssim:        mean over all windows, which for slices of one size is the mean over slices.
    rmse, psnr:  pooled: of the mean square over all pixels; psnr = 20 log10(data_range / rmse).
    slice_rmse, slice_psnr: means of the single slices' values. The gap slice_psnr - psnr says how unevenly the error
                 is spread. One slice without any error makes slice_psnr infinite.

    data_range, window, sample_covariance: as `slice_metrics` takes them; the range has no default. update(preds,
    target): [B, H, W] or [B, C, H, W] of the dtypes there, of one dtype or of two, with a gradient or without one (none
    is taken: train with `spectac_fast.ssim_loss`). Seven float64 sums are all that is kept, and all that processes
    exchange; they depend on the batching by the rounding of their additions alone. NaN anywhere makes the results NaN.
    Without a slice they are NaN. Raises TypeError or ValueError for arguments outside these values.
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better: bool | None = None

    def __init__(
        self, data_range: float, window: str = "gaussian", sample_covariance: bool = False, **settings: Any
    ) -> None:
        super().__init__(**settings)
        _check(data_range, window, sample_covariance)
        self.arguments: dict[str, Any] = {
            "data_range": data_range,
            "window": window,
            "sample_covariance": sample_covariance,
        }
        for name in _SUMS:
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add slices and their references."""
        found = slice_metrics(preds.detach(), target.detach(), **self.arguments)
        if not len(found):
            return
        slices, pixels = len(found), preds[0].numel()
        ssim, psnr, rmse = found.sum(dim=0)
        border = _TAPS[self.arguments["window"]] - 1
        windows = preds[0, ..., border:, border:].numel()
        self.windows += slices * windows
        self.ssim += windows * ssim
        self.pixels += slices * pixels
        self.squares += pixels * found[:, 2].square().sum()
        self.slices += slices
        self.slice_psnr += psnr
        self.slice_rmse += rmse

    def compute(self) -> dict[str, Tensor] | Tensor:
        """The numbers of everything seen so far."""
        rmse = (self.squares / self.pixels).sqrt()
        return {
            "ssim": self.ssim / self.windows,
            "psnr": 20.0 * torch.log10(self.arguments["data_range"] / rmse),
            "rmse": rmse,
            "slice_psnr": self.slice_psnr / self.slices,
            "slice_rmse": self.slice_rmse / self.slices,
        }

    def plot(self, val: Mapping[str, Tensor] | Tensor | Sequence[Any] | None = None, ax: Any | None = None) -> Any:
        """Draw one result, or a sequence of them over time, by matplotlib; returns (figure, axes).

        val: what `compute` or `forward` gave, or a sequence of such results; None computes. ax: where to draw.
        """
        return self._plot(val, ax)


def _check(data_range: float, window: str, sample_covariance: bool) -> None:
    if isinstance(data_range, bool) or not isinstance(data_range, Real):
        raise TypeError(f"data_range must be a number, found {data_range!r}.")
    if not 0 < data_range < math.inf:
        raise ValueError(f"data_range must be positive and finite, found {data_range}.")
    if window not in _TAPS:
        raise ValueError(f"window must be one of {', '.join(_TAPS)}, found {window!r}.")
    if not isinstance(sample_covariance, bool):
        raise TypeError(f"sample_covariance must be True or False, found {sample_covariance!r}.")


class SliceSSIM(SliceMetrics):
    """The "ssim" of `SliceMetrics` alone, for a checkpoint or a schedule to watch."""

    higher_is_better = True
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def compute(self) -> Tensor:
        return super().compute()["ssim"]


class SlicePSNR(SliceMetrics):
    """The "psnr" of `SliceMetrics` alone, in dB."""

    higher_is_better = True

    def compute(self) -> Tensor:
        return super().compute()["psnr"]


class SliceRMSE(SliceMetrics):
    """The "rmse" of `SliceMetrics` alone."""

    higher_is_better = False

    def compute(self) -> Tensor:
        return super().compute()["rmse"]
