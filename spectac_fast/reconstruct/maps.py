"""Attention and attenuation maps for CPDM; the published ones need a CT, most of these do without.

An attention map is 1 where uptake is to be expected and 0 elsewhere; an attenuation map is the share of photons that
gets through, 1 where nothing attenuates. Both are float32 [B, 1, H, W]. Everything here runs batched on the device of
its input.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from spectac_fast.errors import InputError

# Corners (HU, 1/cm) of piecewise linear scales. The published one: 511 keV from a CT at 140 kVp.
PET_SCALE = ((-1000.0, 0.0), (0.0, 0.093), (1000.0, 0.1489), (3000.0, 0.16286))
# 140 keV (Tc-99m) from a CT of effectively 70 keV: air, water, cortical bone of 1.92 g/cm3 (NIST mass attenuation).
SPECT_SCALE = ((-1000.0, 0.0), (0.0, 0.154), (1590.0, 0.294))
# Narrow-beam values are for photons that never scatter; a chest of soft tissue and lung attenuates less on average.
BODY_MU = 0.13

ATTENTION_SHARE = 0.45  # of a slice's maximum; uptake above it is what the training-free map calls expected
CONTOUR_SHARE = 0.05  # of a slice's maximum; scatter in the body exceeds it, noise outside does not
_HULL_DIRECTIONS = 64
_PATH_DIRECTIONS = 32


def read_map(path: Path) -> Tensor:
    """A map from a .npy file of [H, W], [B, H, W] or [B, 1, H, W] in [0, 1] (CPDM keeps one [H, W] file per slice).

    Returns float32 [B, 1, H, W]. InputError if the file is missing, damaged, of another shape or range.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"the map {path} cannot be read as a .npy file of numbers: {error}") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        raise InputError(f"the map {path} must be a .npy file of real numbers")
    if values.ndim not in (2, 3, 4) or (values.ndim == 4 and values.shape[1] != 1):
        raise InputError(f"the map {path} must have shape [H, W], [B, H, W] or [B, 1, H, W], found {values.shape}")
    if not (values.size and values.min() >= 0 and values.max() <= 1):
        raise InputError(f"the map {path} must hold values in 0 ... 1")
    return torch.from_numpy(values.astype(np.float32)).reshape(-1, 1, *values.shape[-2:])


def attention_from_nc(nc: Tensor, share: float = ATTENTION_SHARE, grow: int = 2) -> Tensor:
    """Where a slice exceeds `share` of its maximum: the largest connected part, grown by `grow` pixels.

    nc: float32 [B, 1, H, W] in model units (-1 is no counts). A slice without counts gets an empty map.
    """
    parts = _largest_part(_above(nc, share))
    return F.max_pool2d(parts, 2 * grow + 1, stride=1, padding=grow)


def contour_from_nc(nc: Tensor, share: float = CONTOUR_SHARE) -> Tensor:
    """The body's outline, filled (1 inside): convex hull of the largest part above `share` of a slice's maximum."""
    return convex_hull(_largest_part(_above(nc, share)))


def attenuation_of_ct(ct: Tensor) -> Tensor:
    """The published attenuation map of a CT in [0, 1] ((HU + 1024) / 2047): exp(-mu), pixel by pixel, 0.86 ... 1."""
    return torch.exp(-mu_of_hu(2047.0 * ct - 1024.0, PET_SCALE))


def mu_of_hu(hu: Tensor, scale: tuple[tuple[float, float], ...] = SPECT_SCALE) -> Tensor:
    """Linear attenuation in 1/cm of Hounsfield units, piecewise linear, constant outside the scale's ends."""
    mu = torch.full_like(hu, scale[0][1])
    for (low, mu_low), (high, mu_high) in pairwise(scale):
        mu = mu + (mu_high - mu_low) * ((hu - low) / (high - low)).clamp(0.0, 1.0)
    return mu


def path_transmission(mu: Tensor, pixel_mm: float, directions: int = _PATH_DIRECTIONS) -> Tensor:
    """Mean over directions of exp(-integral of mu from a pixel to the edge), float32 [B, 1, H, W].

    Its inverse is Chang's attenuation factor (Chang 1978). mu: 1/cm, float32 [B, 1, H, W], taken as 0 outside; the
    paths stay in the slice's plane, which in an oblique (SA, VLA, HLA) slice is not the plane of the projections.
    """
    height, width = mu.shape[-2:]
    side = math.ceil(math.hypot(height, width))
    margins = ((side - width) // 2, side - width - (side - width) // 2)
    rows = ((side - height) // 2, side - height - (side - height) // 2)
    square = F.pad(mu, (*margins, *rows))
    total = torch.zeros_like(square)
    for k in range(directions):
        angle = 2.0 * math.pi * k / directions
        turned = _rotate(square, angle)
        # Half of a pixel's own length lies on the way out of its centre.
        beyond = turned.flip(-1).cumsum(-1).flip(-1) - 0.5 * turned
        total += _rotate(torch.exp(-0.1 * pixel_mm * beyond), -angle)
    return (total / directions)[..., rows[0] : rows[0] + height, margins[0] : margins[0] + width]


def convex_hull(mask: Tensor, directions: int = _HULL_DIRECTIONS) -> Tensor:
    """The pixels of {0, 1} masks [B, 1, H, W] that no line in any of `directions` separates from the mask."""
    height, width = mask.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=mask.device), torch.arange(width, device=mask.device), indexing="ij"
    )
    angle = torch.arange(directions, device=mask.device) * (2.0 * math.pi / directions)
    along = torch.cos(angle)[:, None, None] * x + torch.sin(angle)[:, None, None] * y
    reach = along.masked_fill(mask == 0, -math.inf).amax(dim=(2, 3), keepdim=True)
    return (along <= reach + 1e-3).all(dim=1, keepdim=True).to(mask.dtype)


def _above(nc: Tensor, share: float) -> Tensor:
    counts = nc + 1.0
    return (counts > share * counts.amax(dim=(2, 3), keepdim=True).clamp(min=1e-6)).to(nc.dtype)


def _largest_part(mask: Tensor) -> Tensor:
    """The largest 8-connected part of {0, 1} masks [B, 1, H, W] (of equally large ones the last in reading order)."""
    batch, _, height, width = mask.shape
    number = torch.arange(1, height * width + 1, dtype=torch.float32, device=mask.device).view(1, 1, height, width)
    label = number * mask
    # Every pixel takes the largest number its part holds, passed on from pixel to pixel.
    while True:
        spread = F.max_pool2d(label, 3, stride=1, padding=1) * mask
        if torch.equal(spread, label):
            break
        label = spread
    index = label.view(batch, -1).long()
    sizes = torch.zeros(batch, height * width + 1, device=mask.device).scatter_add_(1, index, mask.view(batch, -1))
    sizes[:, 0] = 0.0
    largest = height * width - sizes.flip(1).argmax(dim=1, keepdim=True)
    return ((index == largest) & (index > 0)).view(mask.shape).to(mask.dtype)


def _rotate(images: Tensor, angle: float) -> Tensor:
    """Square images turned about their centre, bilinear, repeating the border."""
    cos, sin = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]], dtype=images.dtype, device=images.device)
    grid = F.affine_grid(turn.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
