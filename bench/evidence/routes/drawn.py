"""One patient for `python -m bench deviations`: AC by the predicted map and the exact one, and what is drawn of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectac_fast.correct.physics.deviation import Spread, expected_counts, samples
from spectac_fast.evaluate.regional.segments import segment_means
from spectac_fast.evaluate.regional.ventricle import Ventricle
from spectac_fast.models.mumap import MapModel
from spectac_fast.models.mumap_bridge import MapBridge
from spectac_fast.phantom.anatomy import build
from spectac_fast.phantom.protocols import planned
from spectac_fast.phantom.scan import COLLIMATORS, acquire, object_grid, prepare
from spectac_fast.phantom.simulate import sampling
from spectac_fast.reconstruct.acquired import Acquired, estimated_scatter
from spectac_fast.reconstruct.grid import Grid
from spectac_fast.reconstruct.planes import Cut, cuts, operator_axes, resample
from spectac_fast.reconstruct.post_filter import low_pass
from spectac_fast.reconstruct.regrid import regridded
from spectac_fast.reconstruct.settings import usual

_HEART_MM, _LEAST_SHARE = 60.0, 0.2
# 20 % about 140.5.
_PEAK_KEV = 28.1


def measure(seed: int, protocol_name: str, model: MapModel, bridge: MapBridge, count: int) -> dict[str, np.ndarray]:
    """Of voxels of the heart, in counts, and of segments, in % of the maximum: "ac", by the predicted map; "exact", by
    the exact map of the same photons; "second", of another acquisition; "map" and "photons", the deviations over
    `count` drawn maps and over `count` drawn acquisitions, each as "voxels_..." and "segments_...". Phases take turns.
    """
    patient, protocol = planned(protocol_name, seed)
    phase = seed % 2
    with torch.inference_mode():
        anatomy = build(patient, object_grid(patient, protocol.camera))
        scan = prepare(anatomy, protocol.camera, "cpu")
        how, grid = usual(len(scan.angles)), scan.detector
        first, second = (
            Acquired(
                acquire(patient, anatomy, replace(protocol, acquisition=k), scan).counts[phase],
                tuple(scan.angles),
                tuple(scan.radius),
                grid.dx,
                COLLIMATORS[protocol.camera.collimator][0],
            )
            for k in range(2)
        )
        nc = low_pass(first.volume(how), grid.dx, how.filter)
        mu = model.predict(nc, grid)
        exact = regridded(
            anatomy.mu_emission, scan.object, Grid(mu.shape[-1], grid.nz, grid.dx, grid.below, grid.centre)
        )

        def ac(acquired: Acquired, by: Tensor) -> tuple[Tensor, Tensor]:
            scatter = estimated_scatter(acquired, how, by, _PEAK_KEV)
            return low_pass(acquired.volume(how, mu=by, scatter=scatter), grid.dx, how.filter), scatter

        image, scatter = ac(first, mu)
        drawn = bridge.samples(nc, grid, count, seed)
        maps = (drawn - drawn.mean(0) + mu).clamp_min(0)
        expected = expected_counts(first, how, image, mu, scatter)
        axes = operator_axes(anatomy.lv.axes, patient.centring, patient.tilt)
        lv = Ventricle.of_phantom(sampling(patient, anatomy, axes))
        seen = _Seen(_heart(image, grid, anatomy.lv.axes.centre), grid, cuts(axes)["SA"], lv)
        found = {"ac": image, "exact": ac(first, exact)[0], "second": ac(second, exact)[0]}
        values = {name: seen.of(volume) for name, volume in found.items()}
        values["map"] = seen.spread(samples(first, how, maps, scatter=scatter))
        same = mu.expand(count, *mu.shape)
        values["photons"] = seen.spread(samples(first, how, same, scatter=scatter, expected=expected, seed=seed))
    return {
        f"{what}_{name}": of[k].numpy().astype(np.float32)
        for name, of in values.items()
        for k, what in enumerate(("voxels", "segments"))
    }


def _heart(image: Tensor, grid: Grid, centre: NDArray) -> Tensor:
    """Voxels [z, y, x] about the ventricle's middle whose counts are no small share of the most there."""
    z, y, x = np.meshgrid(grid.axis_z(), grid.axis_y(), grid.axis_x(), indexing="ij")
    near = torch.from_numpy(((np.stack([x, y, z], -1) - centre) ** 2).sum(-1) < _HEART_MM**2)
    return near & (image > _LEAST_SHARE * image[near].quantile(0.99))


@dataclass(frozen=True)
class _Seen:
    """What is looked at of a volume on `grid`: the voxels `inside`, and segments in a cut."""

    inside: Tensor
    grid: Grid
    cut: Cut
    lv: Ventricle

    def of(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """(voxels, segments)."""
        stack = resample(volume[None], self.grid, self.cut)[0].numpy()
        return volume[self.inside], torch.from_numpy(segment_means(stack, self.lv, (self.grid.dx,) * 3))

    def spread(self, volumes: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
        """Standard deviations of `of`."""
        spreads = Spread(), Spread()
        for volume in volumes:
            for spread, values in zip(spreads, self.of(volume)):
                spread.add(values)
        return spreads[0].deviation, spreads[1].deviation
