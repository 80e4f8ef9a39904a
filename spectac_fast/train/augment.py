"""What is changed at random in a slice that is trained on, and what would be another department's habit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectac_fast.errors import UsageError

# Along which axis of a stack (slices, rows, columns) the inferior wall lies, and which way: as formats/orientation.py
# has planes. Towards it is what lies within 45 degrees, the inferior quarter of the wall.
_INFERIOR = {"SA": (1, 1.0), "VLA": (1, 1.0), "HLA": (0, -1.0)}
_INFERIOR_COSINE = float(np.cos(np.pi / 4))


@dataclass(frozen=True)
class Fields:
    """Fields that end within the patient: of `share` of the slices, what lies further than a random distance from the
    centre is lost.

    half_mm: least and largest half-width of what is kept, mm. round_share: of the fields that are discs, the others are
    squares. falls_mm: what may stand outside, one drawn for each slice: 0 for no counts, else the nearest counts that
    are kept, falling by e within so many mm, as a field is continued when a file is read (data/geometry/margin.py).

    Raises UsageError for settings that describe no field.
    """

    share: float
    half_mm: tuple[float, float]
    round_share: float
    falls_mm: tuple[float, ...]

    def __post_init__(self) -> None:
        low, high = self.half_mm
        if not (0 <= self.share <= 1 and 0 <= self.round_share <= 1 and 0 < low <= high):
            raise UsageError(
                f"fields of a recipe: expected shares of 0 to 1 and 0 < half_mm[0] <= half_mm[1], found {self}"
            )
        if not self.falls_mm or min(self.falls_mm) < 0:
            raise UsageError(f"fields of a recipe: expected falls_mm of at least 0, found {list(self.falls_mm)}")

    def end(self, images: Tensor, pixel_mm: float, rng: np.random.Generator) -> Tensor:
        """Images [B, C, H, W] in model units, some of them lost outside a field that all C of them share."""
        size = len(images)
        chosen = rng.random(size) < self.share
        halves = rng.uniform(*self.half_mm, size=size)
        discs = rng.random(size) < self.round_share
        falls = rng.choice(self.falls_mm, size=size)
        out = images.clone()
        for k in np.flatnonzero(chosen):
            shape = images.shape[-2], images.shape[-1]
            nearest, share = _outside(shape, pixel_mm, halves[k], bool(discs[k]), float(falls[k]))
            row, column = (torch.from_numpy(index) for index in nearest)
            kept = images[k][:, row, column]
            out[k] = (kept + 1.0) * torch.from_numpy(share) - 1.0
        return out


@dataclass(frozen=True)
class Uptake:
    """Places of the heart that take up more or less than they did, in NC and in what is wanted: in `share` of the
    slices, one each. Which counts are lost on the way out of the body does not depend on how many there are, so that
    the ratio of AC to NC stays, but for the scatter that fills a place. Who learns from patients alone takes part of a
    mild inferior defect for the diaphragm's shadow, which is more frequent.

    change: least and largest relative change of counts at the middle of a place. fwhm_mm: of the Gaussian that it is,
    in space. from_centre_mm: least and largest distance of its middle from the stack's centre. inferior_share: of the
    places of stacks whose plane is known, how many lie towards the inferior wall; the others lie anywhere.
    filled_share: how much of the change NC shows where scatter is left in it and taken out of what is wanted, as counts
    that come from elsewhere stay.

    Raises UsageError for settings that describe no place.
    """

    share: float
    change: tuple[float, float]
    fwhm_mm: tuple[float, float]
    from_centre_mm: tuple[float, float]
    inferior_share: float = 0.0
    filled_share: float = 1.0

    def __post_init__(self) -> None:
        (least, most), (narrow, wide), (near, far) = self.change, self.fwhm_mm, self.from_centre_mm
        shares = all(0 <= share <= 1 for share in (self.share, self.inferior_share, self.filled_share))
        if not (shares and -1 < least <= most and 0 < narrow <= wide and 0 <= near <= far):
            raise UsageError(
                "uptake of a recipe: expected shares of 0 to 1, -1 < change[0] <= change[1], 0 < fwhm_mm[0] <= "
                f"fwhm_mm[1] and 0 <= from_centre_mm[0] <= from_centre_mm[1], found {self}"
            )

    def factors(
        self,
        heights_mm: NDArray[np.float64],
        shape: tuple[int, int],
        pixel_mm: float,
        planes: NDArray[np.object_],
        rng: np.random.Generator,
    ) -> Tensor:
        """What the counts of slices are multiplied by, float32 [B, n, H, W]; heights_mm [B, n]: how far each slice of a
        stack that is seen lies from its middle; planes [B]: "SA", "VLA", "HLA" or None each.
        """
        size = len(heights_mm)
        chosen = rng.random(size) < self.share
        change = np.where(chosen, rng.uniform(*self.change, size=size), 0.0)
        wide = rng.uniform(*self.fwhm_mm, size=size)
        way = rng.standard_normal((3, size))
        if self.inferior_share:
            inferior = rng.random(size) < self.inferior_share
            cosine, around = rng.uniform(_INFERIOR_COSINE, 1.0, size=size), rng.uniform(0.0, 2 * np.pi, size=size)
            sine = np.sqrt(1.0 - cosine**2)
            for plane, (axis, sign) in _INFERIOR.items():
                these = inferior & (planes == plane)
                others = [k for k in range(3) if k != axis]
                way[axis, these] = sign * cosine[these]
                way[others[0], these] = (sine * np.cos(around))[these]
                way[others[1], these] = (sine * np.sin(around))[these]
        middles = way / np.linalg.norm(way, axis=0) * rng.uniform(*self.from_centre_mm, size=size)
        axes = [heights_mm, *((np.arange(n) - (n - 1) / 2)[None] * pixel_mm for n in shape)]
        fall = -4.0 * np.log(2.0) / wide[:, None] ** 2
        z, y, x = (
            np.exp(fall * (axis - middle[:, None]) ** 2).astype(np.float32)
            for axis, middle in zip(axes, middles, strict=True)
        )
        z = z * change[:, None].astype(np.float32)
        return torch.from_numpy(1.0 + z[:, :, None, None] * y[:, None, :, None] * x[:, None, None, :])

    def as_filled(self, factors: Tensor, filled: NDArray[np.bool_]) -> Tensor:
        """Of factors [B, n, H, W] of what is wanted those of NC: of some slices, filled [B], less far from 1."""
        shown = np.where(filled, np.float32(self.filled_share), np.float32(1.0))
        return 1.0 + (factors - 1.0) * torch.from_numpy(shown)[:, None, None, None]


def _outside(
    shape: tuple[int, int], pixel_mm: float, half_mm: float, disc: bool, falls_mm: float
) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float32]]:
    """(row, column) of the nearest pixel of the field [H, W] each, and the share of its counts that stands there."""
    centre = [(n - 1) / 2 for n in shape]
    y, x = np.meshgrid(*(np.arange(n) - c for n, c in zip(shape, centre, strict=True)), indexing="ij")
    reach = half_mm / pixel_mm
    if disc:
        inwards = np.minimum(1.0, reach / np.maximum(np.hypot(y, x), 1e-6))
        near_y, near_x = y * inwards, x * inwards
    else:
        near_y, near_x = y.clip(-reach, reach), x.clip(-reach, reach)
    away = np.hypot(y - near_y, x - near_x) * pixel_mm
    share = np.exp(-away / falls_mm) if falls_mm else (away == 0.0).astype(float)
    # Rounded towards the centre: a pixel just outside is lost.
    row, column = (
        np.where(near < 0, np.ceil(near + c), np.floor(near + c)).astype(np.intp)
        for near, c in zip((near_y, near_x), centre, strict=True)
    )
    return (row, column), share.astype(np.float32)


def shifted(image: Tensor, dy: int, dx: int) -> Tensor:
    """An image [C, H, W] moved by whole pixels; what enters holds no counts (-1)."""
    height, width = image.shape[-2:]
    out = torch.full_like(image, -1.0)
    out[:, max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = image[
        :, max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)
    ]
    return out
