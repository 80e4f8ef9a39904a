"""One acquisition: NC and AC volumes, the long axis, and the stacks that are cut along it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spectac_fast.correct.physics.deviation import Spread, expected_counts, samples
from spectac_fast.correct.physics.maps import MapSource, Placed
from spectac_fast.correct.physics.views import Preparation, window_beside
from spectac_fast.correct.physics.wanted import Wanted
from spectac_fast.data.geometry.heart import likeness, seen_as, turned_over
from spectac_fast.errors import InputError
from spectac_fast.formats.dicom.kind.tracer import TECHNETIUM
from spectac_fast.formats.dicom.tomo.stacks import DEVIATION, Stack
from spectac_fast.formats.projections import Projections
from spectac_fast.reconstruct.acquired import Acquired, central, chang, estimated_scatter, uniform_map, window_scatter
from spectac_fast.reconstruct.camera import Collimator
from spectac_fast.reconstruct.grid import Axes, Grid, axes_at
from spectac_fast.reconstruct.long_axis import LongAxis, find_long_axis
from spectac_fast.reconstruct.maps import BODY_MU
from spectac_fast.reconstruct.planes import cuts, resample
from spectac_fast.reconstruct.post_filter import low_pass
from spectac_fast.reconstruct.settings import Reconstruction, usual

# Stacks are so deep about the middle of the ventricle, as those that the models were trained on.
_DEPTH_MM = 29 * 6.8
# The NC image's maximum has at least so many steps in storage.
_STEPS = 1024
# Deviations are stored so much finer than counts.
_DEVIATION_STEP = 1 / 32
# 1/cm from one stored value of a map to the next.
_MU_STEP = 1e-4
_FBP_UNEVEN = 0.05


@dataclass(frozen=True, eq=False)
class Made:
    """What was made of one acquisition. volumes: "NC", and "AC" where asked for, float32 [z, y, x] in counts over
    all views on `grid`. axes: of the stacks. axis: how these were found, None where they were told. notes: sentences to
    be read after the file's name and a colon. mu: the attenuation map of AC [z, m, m] in 1/cm, m at least as wide as
    the grid, None where there is no AC. deviation: standard deviation of AC, like it, where asked for.
    """

    volumes: dict[str, Tensor]
    grid: Grid
    axes: Axes
    axis: LongAxis | None
    stacks: tuple[Stack, ...]
    notes: tuple[str, ...]
    mu: Tensor | None = None
    deviation: Tensor | None = None


def make(
    projections: Projections,
    wanted: Wanted,
    source: MapSource | None = None,
    progress: Callable[[int], None] | None = None,
    preparation: Preparation | None = None,
) -> Made:
    """Reconstruct projections and cut them.

    source: of the attenuation map that `wanted` names. progress: called with numbers of reconstructed rows.
    preparation: of the views, where `wanted` names networks for it, which are loaded where there is none.
    Raises InputError for projections that cannot be reconstructed as wanted.
    """
    preparation = preparation or Preparation(wanted)
    with torch.inference_mode():
        return _Making(projections, wanted, source, progress or (lambda rows: None), preparation).made()


def grid_of(projections: Projections) -> Grid:
    """The voxels of a reconstruction: cubes of a bin's side; z = 0 is that of the file."""
    rows, columns = projections.peak.counts.shape[1:]
    # Indices run from feet to head, rows from head to feet.
    below = (rows - 0.5 - projections.top_mm / projections.pixel_mm) / rows
    return Grid(columns, rows, projections.pixel_mm, below)


class _Making:
    def __init__(
        self,
        projections: Projections,
        wanted: Wanted,
        source: MapSource | None,
        progress: Callable[[int], None],
        preparation: Preparation,
    ) -> None:
        self.p, self.wanted, self.source, self.progress = projections, wanted, source, progress
        self.grid = grid_of(projections)
        counted = Acquired(
            torch.from_numpy(projections.peak.columns),
            tuple(projections.angles),
            tuple(projections.radius_mm),
            projections.pixel_mm,
            wanted.collimator or Collimator(),
        )
        self.prepared, self._networks = preparation.prepare(counted, projections), preparation.settings
        self.acquired = self.prepared.acquired
        self.notes = list(self.prepared.notes)
        self.how = wanted.reconstruction(self.acquired.views, projections.path)

    def made(self) -> Made:
        self._check()
        scatter = self._window_scatter()
        corrected_nc = scatter is not None and self.wanted.scatter == "window"
        nc = self._volume(None, scatter if corrected_nc else None)
        self.progress(self.grid.nz)
        axis = None
        if self.wanted.axis is None:
            axis = find_long_axis(nc, self.grid)
            axes = axis.axes
        else:
            azimuth, elevation, *centre = self.wanted.axis
            axes = axes_at(azimuth, elevation, np.array(centre))
        volumes = {"NC": nc}
        how = {"NC": ("IRNC", self._scatter_words(scatter) if corrected_nc else "", "")}
        mu = deviation = None
        deviations: dict[str, Tensor] = {}
        if self.wanted.ac != "none":
            # The reconstruction that predicts maps is the usual one, whatever is asked for.
            plain = usual(self.acquired.views)
            as_usual = plain == self.how and not corrected_nc
            placed = Placed(
                self.p, self.grid, lambda: nc if as_usual else self._volume(None, None, plain), float(axes.centre[2])
            )
            volumes["AC"], mu, scatter, scattered, attenuation = self._corrected(nc, scatter, placed)
            self.progress(self.grid.nz)
            if self.wanted.uncertainty is not None:
                deviations = self._deviations(volumes["AC"], mu, scatter, placed, axes)
                deviation = deviations["TRA"]
            how["AC"] = ("IRAC", scattered, attenuation)
        step = 2.0 ** min(math.floor(math.log2(max(float(nc.max()), 1e-30) / _STEPS)), 0)
        stacks = []
        for kind, volume in volumes.items():
            method, scattered, attenuation = how[kind]
            for plane in self.wanted.planes:
                counts = self._cut(volume, plane, axes)
                stacks.append(self._stack(counts, plane, axes, kind, method, scattered, attenuation, step))
        for plane in self.wanted.planes if deviations else ():
            stacks.append(self._stack(deviations[plane], plane, axes, DEVIATION, *how["AC"], step * _DEVIATION_STEP))
        if self.wanted.ac == "predicted":
            # Nobody has it yet.
            words = how["AC"][2]
            stacks.append(self._stack(central(mu, self.grid.n), "TRA", axes, "MU", "MU", "", words, _MU_STEP))
        self._say_axis(axes, axis)
        self._say_look(stacks)
        notes = (*self.p.notes, *self.notes)
        return Made(volumes, self.grid, axes, axis, tuple(stacks), notes, mu, deviation)

    def _check(self) -> None:
        p = self.p
        if self.wanted.ac != "none" and p.isotope != TECHNETIUM:
            raise InputError(
                f"{p.path}: expected {TECHNETIUM} for attenuation correction, found {p.isotope}, for whose energies no "
                "attenuation is known here; --ac none reconstructs it."
            )
        if p.scatter_corrected and self.wanted.scatter in ("window", "estimate"):
            raise InputError(
                f"{p.path}: expected projections as acquired for a correction of scatter, found some without it; "
                "--scatter none or auto takes them as they are."
            )
        between = np.diff(p.angles)
        if self.how.method == "FBP" and np.ptp(between) > _FBP_UNEVEN * np.median(between):
            raise InputError(f"{p.path}: expected views at equal steps for filtered back-projection, found gaps.")

    def _volume(self, mu: Tensor | None, scatter: Tensor | None, how: Reconstruction | None = None) -> Tensor:
        how = how or self.how
        volume = self.acquired.volume(how, mu=mu, scatter=scatter)
        return low_pass(volume * self.prepared.share, self.grid.dx, how.filter)

    def _corrected(
        self, nc: Tensor, windows: Tensor | None, placed: Placed
    ) -> tuple[Tensor, Tensor, Tensor | None, str, str]:
        """AC volume, its map and expected scatter, and in words its scatter correction and its attenuation."""
        if self.source is None:
            mu = uniform_map(nc)
            source, scattered = nc, ""
            if windows is not None and self.wanted.scatter in ("auto", "window"):
                source, scattered = self._volume(None, windows), self._scatter_words(windows)
            # Broad-beam attenuation stands for what scatter adds; without it the narrow one holds.
            mu = mu * (0.15 / BODY_MU if scattered or self.p.scatter_corrected else 1.0)
            value = float(mu.max())
            words = f"Chang first order, uniform body of {value:.2f}/cm"
            return chang(source, self.acquired, mu), mu, None, scattered, words
        mu, notes = self.source.place(placed)
        self.notes += notes
        scatter, scattered = None, ""
        if self.wanted.scatter != "none" and not self.p.scatter_corrected:
            scatter, scattered = windows, self._scatter_words(windows)
            if windows is None:
                scatter = estimated_scatter(self.acquired, self.how, mu, self.p.peak.width_kev or 28.1)
                scattered = "effective source"
        return self._volume(mu, scatter), mu, scatter, scattered, self.source.words

    def _deviations(
        self, ac: Tensor, mu: Tensor, scatter: Tensor | None, placed: Placed, axes: Axes
    ) -> dict[str, Tensor]:
        """Standard deviation of AC's counts in every plane that is wanted, and in TRA."""
        assert self.source is not None
        assert self.wanted.uncertainty is not None
        doubted, seed = self.source.doubted, self.wanted.seed
        maps = self.source.spread(placed, mu, self.wanted.uncertainty, seed)
        expected = expected_counts(self.acquired, self.how, ac, mu, scatter)
        found = {plane: Spread() for plane in {*self.wanted.planes, "TRA"}}
        for volume in samples(self.acquired, self.how, maps, scatter=scatter, expected=expected, seed=seed):
            for plane, spread in found.items():
                spread.add(self._cut(volume, plane, axes))
        self.notes += doubted.notes
        if self.p.scatter_corrected:
            self.notes.append("the counts that were taken off its projections before are missing in its deviations.")
        besides = {plane: doubted.floor * self._cut(ac, plane, axes) for plane in found}
        return {plane: torch.hypot(spread.deviation, besides[plane]) for plane, spread in found.items()}

    def _window_scatter(self) -> Tensor | None:
        """Expected scatter by the windows of the file; None where it has none that will do, or none is wanted."""
        if self.wanted.scatter not in ("auto", "window") or self.p.scatter_corrected:
            return None
        lower, upper = (window_beside(self.p, side) for side in (-1, 1))
        if lower is None:
            if self.wanted.scatter == "window":
                raise InputError(f"{self.p.path}: expected a scatter window below the photopeak, found none.")
            return None
        self._windows = "triple energy window" if upper else "dual energy window"
        below = torch.from_numpy(lower.columns), lower.width_kev
        above = (torch.from_numpy(upper.columns), upper.width_kev) if upper else None
        return self.prepared.all_views(window_scatter(self.p.peak.width_kev, below, above, self.p.pixel_mm))

    def _scatter_words(self, scatter: Tensor | None) -> str:
        return "" if scatter is None else self._windows

    def _cut(self, volume: Tensor, plane: str, axes: Axes) -> Tensor:
        """A plane's slices of a volume, [slices, rows, columns]."""
        if plane == "TRA":
            return volume
        return resample(volume[None], self.grid, cuts(axes)[plane], self._shape)[0]

    @property
    def _shape(self) -> tuple[int, int, int]:
        """Of stacks along the heart."""
        return math.ceil(_DEPTH_MM / self.grid.dx - 1e-6), self.grid.n, self.grid.n

    def _stack(
        self,
        counts: Tensor,
        plane: str,
        axes: Axes,
        kind: str,
        method: str,
        scattered: str,
        attenuation: str,
        step: float,
    ) -> Stack:
        grid, how = self.grid, self.how
        if plane == "TRA":
            orientation: Sequence[float] = (1.0, 0, 0, 0, 1.0, 0)
            position: Sequence[float] = (grid.axis_x()[0], grid.axis_y()[0], grid.axis_z()[0])
        else:
            cut = cuts(axes)[plane]
            orientation, position = (*cut.right, *cut.down), tuple(cut.first_voxel(grid.dx, self._shape))
        made = {**self.wanted.settings(), "map": self.source.digest if self.source else "", **self._networks}
        deviation = ""
        if kind == DEVIATION and self.source is not None:
            deviation = f"{self.wanted.uncertainty} samples of {self.source.doubted.words}"
            made |= {**self.wanted.drawing(), **self.source.doubted.settings}
        return Stack(
            counts.cpu().numpy(), plane, kind, step, grid.dx, grid.dx, orientation, position,
            _abbreviated(method, how, scattered), str(how), str(how.filter), scattered, attenuation, made, deviation,
            self.prepared.words,
        )  # fmt: skip

    def _say_axis(self, axes: Axes, axis: LongAxis | None) -> None:
        x, y, z = axes.centre
        said = (
            f"azimuth {axes.azimuth:.1f}, elevation {axes.elevation:.1f} degrees through {x:.0f}, {y:.0f}, {z:.0f} mm"
        )
        if axis is None:
            self.notes.append(f"its long axis is as told: {said}.")
        elif axis.doubts:
            self.notes.append(
                f"its long axis was found at {said}, with doubt: {'; '.join(axis.doubts)}; --axis sets it by hand."
            )

    def _say_look(self, stacks: Sequence[Stack]) -> None:
        """A sentence where NC slices look turned over: rows, views or angles that run the other way make them so."""
        for stack in stacks:
            if stack.kind == "NC" and stack.plane == "SA":
                flips = turned_over(likeness(stack.counts, "SA", (stack.slice_mm, stack.pixel_mm, stack.pixel_mm)))
                if flips is not None:
                    self.notes.append(
                        f"its image contradicts its header: {seen_as(flips, 'SA')}; check how it was taken."
                    )


def _abbreviated(method: str, how: Reconstruction, scattered: str) -> str:
    first = method.replace("IR", "FBP") if how.method == "FBP" else method
    return first + ("SC" if scattered else "") + ("RR" if how.resolution_recovery else "")
