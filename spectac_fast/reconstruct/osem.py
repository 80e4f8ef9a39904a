"""OSEM with and without attenuation, filtered back-projection, and the post-filters of either."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from spectac_fast.reconstruct.camera import Projector


def osem(
    projector: Projector,
    views: Tensor,
    *,
    mu: Tensor | None = None,
    scatter: Tensor | None = None,
    iterations: int = 4,
    subsets: int = 8,
) -> Tensor:
    """Ordered-subset expectation maximisation (Hudson and Larkin 1994) from a uniform start.

    views: counts [V, bins, batch * nz]; mu: columns [mu_n*mu_n, nz] in 1/cm, None = no attenuation correction (NC);
    scatter: expected scatter counts per bin added to the forward projection, like `views`. Returns activity columns
    [n*n, batch * nz] in counts per view.
    """
    count, width = views.shape[0], views.shape[2]
    if count % subsets:
        raise ValueError(f"views must divide into {subsets} subsets, but there are {count}")
    survival = [None if mu is None else projector.survival(mu, v) for v in range(count)]
    order = [list(range(k, count, subsets)) for k in _bit_reversed(subsets)]
    ones = torch.ones_like(views[0])
    sensitivity = [sum(projector.backward(ones, v, survival[v]) for v in subset).clamp_min(1e-4) for subset in order]
    estimate = torch.full((projector.n**2, width), float(views.mean()) / projector.n, device=views.device)
    for _ in range(iterations):
        for subset, norm in zip(order, sensitivity, strict=True):
            correction = torch.zeros_like(estimate)
            for v in subset:
                expected = projector.forward(estimate, v, survival[v])
                if scatter is not None:
                    expected = expected + scatter[v]
                correction += projector.backward(views[v] / expected.clamp_min(1e-6), v, survival[v])
            estimate = estimate * (correction / norm)
    return estimate


def _bit_reversed(n: int) -> list[int]:
    """0 .. n-1 with successive members far apart, so that successive subsets see the object from different sides."""
    bits = max(n - 1, 1).bit_length()
    return sorted(range(n), key=lambda k: int(f"{k:0{bits}b}"[::-1], 2))


def butterworth(volume: Tensor, dx: float, cutoff: float = 0.40, power: float = 10) -> Tensor:
    """Low-pass [..., nz, ny, nx] by |H| = 1 / sqrt(1 + (f / cutoff)^power), f in cycles/cm; no negative values."""
    return _filtered(volume, dx, lambda squared: torch.rsqrt(1 + (squared / cutoff**2) ** (power / 2)))


def hann(volume: Tensor, dx: float, cutoff: float) -> Tensor:
    """Low-pass [..., nz, ny, nx] by |H| = (1 + cos(pi f / cutoff)) / 2 below the cutoff, 0 above, f in cycles/cm; no
    negative values.
    """
    return _filtered(
        volume, dx, lambda squared: 0.5 + 0.5 * torch.cos(torch.pi * (squared.sqrt() / cutoff).clamp_max(1))
    )


def _filtered(volume: Tensor, dx: float, response: Callable[[Tensor], Tensor]) -> Tensor:
    """response: of the squared frequency, (cycles/cm)^2."""
    nz, ny, nx = volume.shape[-3:]
    fz, fy = (torch.fft.fftfreq(n, dx / 10, device=volume.device) for n in (nz, ny))
    fx = torch.fft.rfftfreq(nx, dx / 10, device=volume.device)
    squared = fz[:, None, None] ** 2 + fy[None, :, None] ** 2 + fx[None, None, :] ** 2
    spectrum = torch.fft.rfftn(volume, dim=(-3, -2, -1)) * response(squared)
    return torch.fft.irfftn(spectrum, s=(nz, ny, nx), dim=(-3, -2, -1)).clamp_min(0)


def filtered_back_projection(projector: Projector, views: Tensor) -> Tensor:
    """Ramp-filtered back-projection without any correction, the reconstruction of the 1990s.

    views: counts [V, bins, batch * nz] over an arc of 180 or 360 degrees. Returns columns [n*n, batch * nz]; negative
    values are kept, for the post-filter to average.
    """
    bins = views.shape[1]
    # Twice the length, so that the filter's wrap-around falls outside the object.
    ramp = _ramp(2 * bins).to(views)[None, :, None]
    filtered = torch.fft.irfft(torch.fft.rfft(views, n=2 * bins, dim=1) * ramp, n=2 * bins, dim=1)[:, :bins]
    total = sum(projector.backward(filtered[v].contiguous(), v) for v in range(views.shape[0]))
    return total * (torch.pi / views.shape[0])


def _ramp(length: int) -> Tensor:
    """[length / 2 + 1]: response of the band-limited ramp (Ramachandran and Lakshminarayanan 1971) to samples one bin
    apart. Sampled in space, since |f| sampled in frequency takes the mean away.
    """
    n = torch.fft.fftfreq(length, 1 / length, dtype=torch.float64)
    odd = n.long() % 2 == 1
    kernel = torch.where(odd, -1 / (torch.pi * n.clamp_min(-length)).square().clamp_min(1e-9), torch.zeros_like(n))
    kernel[0] = 0.25
    return torch.fft.rfft(kernel).real
