"""The same model on other images: fewer and more counts, other resolution, other grids. Made by physics where it must.

Counts and resolution are changed where they arise: the expected projections of a patient are scaled, or blurred as a
collimator farther off would, new Poisson noise is drawn, and NC and AC are reconstructed anew. Other grids are the
usual images interpolated (cubic splines): a camera that measured on that grid would have other noise, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bench.evidence.clinical.cases import corrected_sa
from spectac_fast.evaluate.regional.segments import segment_means
from spectac_fast.evaluate.regional.ventricle import find
from spectac_fast.terms import PHASES, PLANES

MM = (6.8, 6.8, 6.8)
# (name, factor of the counts, extra FWHM of the projections in mm)
PHYSICAL = (
    ("counts x 1/4", 0.25, 0.0),
    ("counts x 1/2", 0.5, 0.0),
    ("as trained", 1.0, 0.0),
    ("counts x 2", 2.0, 0.0),
    ("blur + 6 mm", 1.0, 6.0),
    ("blur + 10 mm", 1.0, 10.0),
)
# (name, slice and pixel spacing in mm)
GRIDS = (
    ("voxels 4.8 mm", (4.8, 4.8, 4.8)),
    ("pixels 5.3, slices 6.8 mm", (6.8, 5.3, 5.3)),
    ("pixels 6.8, slices 3.4 mm", (3.4, 6.8, 6.8)),
    ("voxels 9.6 mm", (9.6, 9.6, 9.6)),
)
CONDITIONS = tuple(name for name, *_ in (*PHYSICAL, *GRIDS))


def simulated(seed: int) -> dict[str, np.ndarray]:
    """stacks [condition, phase, plane, NC or AC, 29, 64, 64], uint16, of one patient under the physical conditions."""
    import torch

    from spectac_fast.phantom.anatomy import build
    from spectac_fast.phantom.people import draw
    from spectac_fast.phantom.protocol import HANOI
    from spectac_fast.phantom.scan import acquire, object_grid, prepare
    from spectac_fast.phantom.simulate import reconstruct
    from spectac_fast.reconstruct import planes

    patient, protocol = draw(seed), HANOI
    with torch.inference_mode():
        anatomy = build(patient, object_grid(patient, protocol.camera), "cpu")
        scan = prepare(anatomy, protocol.camera, "cpu")
        grid = scan.image
        expected = acquire(patient, anatomy, replace(protocol, noise=False), scan)
        cuts = planes.cuts(planes.operator_axes(anatomy.lv.axes, patient.centring, patient.tilt))
        stacks = []
        for number, (_, factor, blur) in enumerate(PHYSICAL):
            taken = _taken(expected, grid, factor, blur, np.random.default_rng((seed, 31, number)))
            volumes = reconstruct(patient, anatomy, taken, protocol, scan)
            kinds = [planes.resample(volumes[kind], grid, cuts[p]) for p in PLANES for kind in ("NC", "AC")]
            # [plane x kind, phase, ...] -> [phase, plane, kind, ...]
            found = torch.stack(kinds).reshape(3, 2, len(PHASES), *kinds[0].shape[1:]).permute(2, 0, 1, 3, 4, 5)
            stacks.append(np.clip(np.rint(found.numpy()), 0, 65535).astype(np.uint16))
    return {"stacks": np.stack(stacks)}


def _taken(expected: Any, grid: Any, factor: float, blur_mm: float, rng: np.random.Generator) -> Any:
    """The acquisition with other counts and resolution; expected: without noise, on the rows of a grid."""
    import torch
    from scipy.ndimage import gaussian_filter

    def blurred(views: Any) -> np.ndarray:
        sigma = blur_mm / 2.3548 / grid.dx
        return gaussian_filter(views.numpy(), (0, 0, sigma, sigma)) if blur_mm else views.numpy()

    # Drawn view by view, both phases together.
    lam = np.maximum(blurred(expected.counts) * factor, 0).transpose(1, 2, 0, 3)
    counts = rng.poisson(lam).transpose(2, 0, 1, 3).astype(np.float32)
    scatter = (blurred(expected.scatter) * factor).astype(np.float32)
    return replace(expected, counts=torch.from_numpy(counts), scatter=torch.from_numpy(scatter))


def errors(stacks: np.ndarray, translator: Any) -> dict[str, np.ndarray]:
    """Segment error against AC of the same condition, % of maximum: [condition, phase, (NC, corrected)]."""
    out = [_error(of, MM, translator) for of in stacks]
    usual = stacks[[name for name, *_ in PHYSICAL].index("as trained")]
    for _, spacing in GRIDS:
        shape = tuple(round(n * 6.8 / mm) for n, mm in zip(usual.shape[-3:], spacing))
        out.append(_error(_regridded(usual, shape, spacing), spacing, translator))
    return {"errors": np.array(out)}


def _error(of: np.ndarray, spacing_mm: tuple[float, float, float], translator: Any) -> list[list[float]]:
    """of: [phase, plane, NC or AC, slices, rows, columns]."""
    stacks = {
        (phase, plane): of[i, j, 0].astype(np.float32)
        for i, phase in enumerate(PHASES)
        for j, plane in enumerate(PLANES)
    }
    corrected = corrected_sa(stacks, spacing_mm, translator)
    rows = []
    for i, phase in enumerate(PHASES):
        where = find(stacks[phase, "SA"], spacing_mm)
        nc, ours, ac = (
            segment_means(s, where, spacing_mm) for s in (stacks[phase, "SA"], corrected[phase], of[i, 0, 1])
        )
        rows.append([float(np.abs(nc - ac).mean()), float(np.abs(ours - ac).mean())])
    return rows


def _regridded(usual: np.ndarray, shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    axes = [
        (np.arange(n) - (n - 1) / 2) * mm / 6.8 + (old - 1) / 2
        for n, mm, old in zip(shape, spacing_mm, usual.shape[-3:])
    ]
    grid = np.meshgrid(*axes, indexing="ij")
    flat = usual.reshape(-1, *usual.shape[-3:]).astype(np.float32)
    stacks = [np.maximum(map_coordinates(s, grid, order=3, mode="nearest"), 0) for s in flat]
    return np.stack(stacks).reshape(*usual.shape[:-3], *shape)
