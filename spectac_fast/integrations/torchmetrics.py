"""`slice_metrics` as metrics of torchmetrics: sums are kept and no image, so any batching gives the same numbers."""

from __future__ import annotations

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

_SUMS = ("windows", "ssim", "pixels", "squares", "slices", "slice_psnr", "slice_rmse")


class SliceMetrics(Metric):
    """SSIM, PSNR and RMSE of all slices seen, as a dictionary of float64 scalars.

    ssim:        mean over all windows, which for slices of one size is the mean over slices.
    rmse, psnr:  pooled: of the mean square over all pixels; psnr = 20 log10(data_range / rmse).
    slice_rmse, slice_psnr: means of the single slices' values. The gap slice_psnr - psnr says how unevenly the error
                 is spread. One slice without any error makes slice_psnr infinite.

    data_range, window, sample_covariance: as `slice_metrics` takes them. update(preds, target): [B, H, W] or
    [B, C, H, W] of the dtypes there. Seven float64 sums are all that is kept, and all that processes exchange; they
    depend on the batching by the rounding of their additions alone. NaN anywhere makes the results NaN. Without a
    slice they are NaN.
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better: bool | None = None

    def __init__(
        self, data_range: float = 2.0, window: str = "gaussian", sample_covariance: bool = False, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.arguments = {"data_range": data_range, "window": window, "sample_covariance": sample_covariance}
        for name in _SUMS:
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add slices and their references."""
        found = slice_metrics(preds, target, **self.arguments)
        if not len(found):
            return
        slices, pixels = len(found), preds[0].numel()
        ssim, psnr, rmse = found.sum(dim=0)
        border = (GAUSSIAN_TAPS if self.arguments["window"] == "gaussian" else UNIFORM_TAPS) - 1
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


class SliceSSIM(SliceMetrics):
    """The "ssim" of `SliceMetrics` alone, for a checkpoint or a schedule to watch."""

    higher_is_better = True

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
