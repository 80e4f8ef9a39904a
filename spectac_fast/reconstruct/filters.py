"""Post-filters of reconstructed volumes, and filtered back-projection, which is a filter before them."""

from __future__ import annotations

import torch
from torch import Tensor

from spectac_fast.reconstruct.projector import Projector


def butterworth(volume: Tensor, dx: float, cutoff: float = 0.40, power: float = 10) -> Tensor:
    """Low-pass [..., nz, ny, nx] by |H| = 1 / sqrt(1 + (f / cutoff)^power), f in cycles/cm; no negative values.

    dx: side of a voxel in mm.
    """
    return _low_passed(volume, dx, lambda squared: torch.rsqrt(1 + (squared / cutoff**2) ** (power / 2))).clamp_min(0)


def hann(volume: Tensor, dx: float, cutoff: float) -> Tensor:
    """Low-pass [..., nz, ny, nx] by |H| = (1 + cos(pi f / cutoff)) / 2 below the cutoff, 0 above, f in cycles/cm; no
    negative values. dx: side of a voxel in mm.
    """
    return _low_passed(
        volume, dx, lambda squared: 0.5 + 0.5 * torch.cos(torch.pi * (squared.sqrt() / cutoff).clamp_max(1))
    ).clamp_min(0)


def _low_passed(volume: Tensor, dx: float, response) -> Tensor:
    nz, ny, nx = volume.shape[-3:]
    fz, fy = (torch.fft.fftfreq(n, dx / 10, device=volume.device) for n in (nz, ny))
    fx = torch.fft.rfftfreq(nx, dx / 10, device=volume.device)
    squared = fz[:, None, None] ** 2 + fy[None, :, None] ** 2 + fx[None, None, :] ** 2
    spectrum = torch.fft.rfftn(volume, dim=(-3, -2, -1)) * response(squared)
    return torch.fft.irfftn(spectrum, s=(nz, ny, nx), dim=(-3, -2, -1))


def filtered_back_projection(projector: Projector, views: Tensor) -> Tensor:
    """Ramp-filtered back-projection without any correction, the reconstruction of the 1990s.

    projector: without a collimator. views: counts [B, V, n, nz] at equal steps over an arc of 180 degrees, or of 360.
    Returns [B, n, n, nz] in counts per view; negative values are kept, for the post-filter to average.
    """
    if projector.collimator is not None:
        raise ValueError("filtered back-projection corrects nothing: its projector must have no collimator")
    bins = views.shape[2]
    # Twice the length, so that the filter's wrap-around falls outside the object.
    ramp = _ramp(2 * bins).to(views)[:, None]
    filtered = torch.fft.irfft(torch.fft.rfft(views, n=2 * bins, dim=2) * ramp, n=2 * bins, dim=2)[:, :, :bins]
    return projector.backproject(filtered.contiguous()) * (torch.pi / projector.views)


def _ramp(length: int) -> Tensor:
    """[length / 2 + 1]: response of the band-limited ramp (Ramachandran and Lakshminarayanan 1971) to samples one bin
    apart. Sampled in space, since |f| sampled in frequency takes the mean away.
    """
    n = torch.fft.fftfreq(length, 1 / length, dtype=torch.float64)
    kernel = torch.where(n.long() % 2 == 1, -1 / (torch.pi * n).square().clamp_min(1e-9), torch.zeros_like(n))
    kernel[0] = 0.25
    return torch.fft.rfft(kernel).real
