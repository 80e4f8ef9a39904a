"""One acquisition and the volumes that are made of it, with and without attenuation correction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from spectac_fast.reconstruct.camera import Collimator, gaussian_matrix, scatter_source
from spectac_fast.reconstruct.filters import filtered_back_projection
from spectac_fast.reconstruct.maps import BODY_MU, contour_from_nc
from spectac_fast.reconstruct.osem import osem
from spectac_fast.reconstruct.projector import Projector, to_columns, to_volume
from spectac_fast.reconstruct.settings import Reconstruction

# Dual energy window (Jaszczak et al., J Nucl Med 1984;25:893): this share of the lower window's counts per keV.
DUAL_SHARE = 0.5
# A scatter window has few counts, and what it stands for is smooth: it is low-passed before use.
_SMOOTH_MM = 10.0
# The width of the window that the effective scatter source was calibrated in, keV: 20 % about 140.5.
_CALIBRATED_KEV = 28.1
# A voxel that hardly any photon leaves unseen by the camera is not divided by what does.
_LEAST_SEEN = 1e-3


@dataclass(frozen=True, eq=False)
class Acquired:
    """Counts of one acquisition on its camera.

    counts: float32 [V, bins, rows]: bins towards the left of a patient whom the detector faces, rows from feet to head.
    angles: degrees, 0 in front and 90 at the left. radius_mm: of each view. pixel_mm: side of a bin and of a voxel.
    collimator: for the reconstructions that model it.
    """

    counts: Tensor
    angles: Sequence[float]
    radius_mm: Sequence[float]
    pixel_mm: float
    collimator: Collimator
    _projectors: dict[bool, Projector] = field(default_factory=dict)

    @property
    def views(self) -> int:
        return self.counts.shape[0]

    def projector(self, blurred: bool) -> Projector:
        """From volumes to these views, with the collimator's blur or without."""
        if blurred not in self._projectors:
            self._projectors[blurred] = Projector(
                self.counts.shape[1],
                self.pixel_mm,
                self.angles,
                radius_mm=self.radius_mm,
                collimator=self.collimator if blurred else None,
            )
        return self._projectors[blurred]

    def volume(
        self,
        how: Reconstruction,
        *,
        mu: Tensor | None = None,
        scatter: Tensor | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """[rows, bins, bins] (z, y, x) in counts over all views, before any filter.

        mu: [rows, m, m] in 1/cm, m at least the bins: what lies beside the field attenuates too; None = no attenuation
        correction. scatter: expected scatter, like counts.
        progress: called with the number of subsets that are through, once where there are none. Raises ValueError for
        filtered back-projection with a map.
        """
        if how.method == "FBP":
            if mu is not None:
                raise ValueError("attenuation is corrected by OSEM, not by filtered back-projection")
            counts = self.counts if scatter is None else self.counts - scatter
            columns = filtered_back_projection(self.projector(False), counts[None])
        else:
            projector = self.projector(how.resolution_recovery)
            columns = osem(
                projector,
                self.counts[None],
                **({} if mu is None else projector.through(to_columns(mu))),
                scatter=None if scatter is None else scatter[None],
                iterations=how.iterations,
                subsets=how.subsets,
            )
        if progress is not None:
            progress(how.iterations * how.subsets if how.method != "FBP" else 1)
        return self.views * to_volume(columns)[0]

    def expected(self, volume: Tensor, mu: Tensor, blurred: bool) -> Tensor:
        """The counts that an activity [z, y, x], in counts over all views, would give, like `counts`."""
        projector = self.projector(blurred)
        return projector.project(to_columns(volume / self.views), **projector.through(to_columns(mu)))[0]

    def seen(self, mu: Tensor) -> Tensor:
        """The share of photons from each voxel [z, y, x] that reaches the detector, mean over the views."""
        projector, ones = self.projector(False), torch.ones_like(self.counts[None])
        free = projector.backproject(ones).clamp_min(_LEAST_SEEN * self.views)
        seen = projector.backproject(ones, **projector.through(to_columns(mu)))
        return to_volume(seen / free)[0].clamp_min(_LEAST_SEEN)


def central(mu: Tensor, n: int) -> Tensor:
    """The part of a map [z, m, m] that lies in a field of n x n voxels."""
    margin = (mu.shape[-1] - n) // 2
    return mu[..., margin : margin + n, margin : margin + n]


def uniform_map(nc: Tensor, mu: float = BODY_MU) -> Tensor:
    """An attenuation map [z, y, x], 1/cm: `mu` inside the outline of the body in an NC volume, 0 outside."""
    # Shared by neighbouring slices: a slice of few counts has no outline of its own.
    smooth = torch.nn.functional.avg_pool1d(nc.flatten(1).T[:, None], 5, 1, 2, count_include_pad=False)[:, 0].T
    return mu * contour_from_nc(smooth.reshape(nc.shape)[:, None] - 1)[:, 0]


def chang(nc: Tensor, acquired: Acquired, mu: Tensor) -> Tensor:
    """An NC volume [z, y, x] corrected for attenuation at first order (Chang, IEEE Trans Nucl Sci 1978;25:638): every
    voxel divided by the share of its photons that reached the camera, over the views that there are.

    mu: [z, y, x] in 1/cm.
    """
    return nc / acquired.seen(mu)


def window_scatter(
    peak_kev: float, lower: tuple[Tensor, float], upper: tuple[Tensor, float] | None, pixel_mm: float
) -> Tensor:
    """Expected scatter in the photopeak from the counts of windows beside it, [V, bins, rows].

    peak_kev: the photopeak's width. lower, upper: (counts, width in keV) of the windows below and above. With one
    below: dual energy window; with both: triple energy window (Ogawa et al., IEEE Trans. Med. Imaging 1991;10:408).
    """
    counts, width = lower
    rate = counts / width
    if upper is not None:
        rate = 0.5 * (rate + upper[0] / upper[1])
        return _smoothed(peak_kev * rate, pixel_mm)
    return _smoothed(DUAL_SHARE * peak_kev * rate, pixel_mm)


def estimated_scatter(acquired: Acquired, how: Reconstruction, mu: Tensor, peak_kev: float) -> Tensor:
    """Expected scatter in the photopeak from an effective source (`scatter_source`), [V, bins, rows].

    The source is made of a reconstruction that knows of no scatter, whose activity is therefore too large by the same
    share as its counts; peak_kev: width of the photopeak, to which scatter is taken to be proportional.
    """
    first = acquired.volume(how, mu=mu)
    primary = acquired.expected(first, mu, how.resolution_recovery)
    source = scatter_source(first, central(mu, first.shape[-1]), acquired.pixel_mm) * (peak_kev / _CALIBRATED_KEV)
    scatter = acquired.expected(source, mu, how.resolution_recovery)
    return scatter * (primary.sum() / (primary.sum() + scatter.sum()))


def _smoothed(views: Tensor, pixel_mm: float) -> Tensor:
    """[V, bins, rows] blurred in both directions; beyond its edges a view goes on."""
    bins, rows = (gaussian_matrix(size, _SMOOTH_MM / pixel_mm) for size in views.shape[1:])
    bins, rows = (torch.tensor(m / m.sum(1, keepdims=True)).to(views) for m in (bins, rows))
    return bins @ views @ rows.T
