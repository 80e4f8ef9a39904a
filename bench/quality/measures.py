"""What the quality of samples is measured by, beside RMSE and SSIM: texture, spread, roughness, agreement of planes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.scale import heart_mask

Array = NDArray[np.float64]

TEXTURE_BAND = (1 / 16, 3 / 8)
"""Cycles per pixel. Below it lies the anatomy that RMSE sees, above it the rounding of counts to whole numbers."""


@lru_cache(maxsize=4)
def _rings(rows: int, columns: int) -> tuple[NDArray[np.intp], Array]:
    """(ring of every frequency, cycles per pixel of every ring): rings one lowest frequency wide."""
    width = 1.0 / max(rows, columns)
    radius = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns)[None])
    ring = np.rint(radius / width).astype(np.intp)
    return ring, np.arange(ring.max() + 1) * width


def radial_power(images: Array) -> Array:
    """Mean power of images [..., H, W] on rings of equal frequency, [..., rings up to half a cycle per pixel]."""
    ring, frequency = _rings(*images.shape[-2:])
    power = np.abs(np.fft.fft2(images)) ** 2
    flat = power.reshape(-1, ring.size)
    sums = np.stack([np.bincount(ring.ravel(), weights=one) for one in flat]) / np.bincount(ring.ravel())
    kept = frequency <= 0.5
    return sums[:, kept].reshape(*images.shape[:-2], -1)


def texture(power: Array, reference: Array) -> tuple[float, float]:
    """(distance, bias) of two radial power spectra [rings] in dB over `TEXTURE_BAND`: root mean square and mean."""
    frequency = np.arange(len(power)) * 0.5 / (len(power) - 1)
    band = (frequency >= TEXTURE_BAND[0]) & (frequency <= TEXTURE_BAND[1])
    decibel = 10.0 * np.log10(power[band] / reference[band])
    return float(np.sqrt(np.mean(decibel**2))), float(decibel.mean())


def roughness(stack: Array, heart: NDArray[np.bool_]) -> float:
    """Root mean square of the second difference along the slices of a stack [S, H, W], within the heart."""
    second = stack[:-2] - 2.0 * stack[1:-1] + stack[2:]
    return float(np.sqrt(np.mean(second[heart[1:-1]] ** 2)))


def disagreement(planes: dict[str, Array], spacing_mm: tuple[float, float, float]) -> float:
    """Root mean square difference of SA to VLA and to HLA on the voxels they share, within the heart.

    planes: stacks [S, H, W] about one centre with equal distances, S odd, H and W even, as the cohort has them. A
    plane's slices then lie halfway between the rows of another: both are averaged over two of their neighbours.
    """
    sa, vla, hla = (planes[name] for name in ("SA", "VLA", "HLA"))
    depth = len(sa)
    along = _halfway(vla, 2, depth).transpose(2, 1, 0)[::-1]
    across = _halfway(hla, 1, depth).transpose(1, 0, 2)[:, ::-1]
    squares = []
    for ours, theirs in ((_halfway(sa, 2, depth), along), (_halfway(sa, 1, depth), across)):
        heart = heart_mask(ours.shape, spacing_mm)
        squares.append(np.mean((ours - theirs)[heart] ** 2))
    return float(np.sqrt(np.mean(squares)))


def _halfway(stack: Array, axis: int, depth: int) -> Array:
    """The middle `depth` places between neighbours along an axis."""
    length = stack.shape[axis]
    means = 0.5 * (stack.take(range(length - 1), axis) + stack.take(range(1, length), axis))
    first = (length - 1 - depth) // 2
    return means.take(range(first, first + depth), axis)
