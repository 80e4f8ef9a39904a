"""The post-filter that settings name."""

from __future__ import annotations

from torch import Tensor

from spectac_fast.reconstruct.camera import FWHM_TO_SIGMA, blur
from spectac_fast.reconstruct.filters import butterworth, hann
from spectac_fast.reconstruct.settings import Filter


def low_pass(volume: Tensor, dx: float, how: Filter) -> Tensor:
    """A volume [..., nz, ny, nx] of voxels of dx mm after its post-filter; no negative values."""
    if how.kind == "none":
        return volume.clamp_min(0)
    if how.kind == "gaussian":
        return blur(volume, how.fwhm_mm * FWHM_TO_SIGMA, dx).clamp_min(0)
    return butterworth(volume, dx, how.cutoff, how.power) if how.kind == "butterworth" else hann(volume, dx, how.cutoff)
