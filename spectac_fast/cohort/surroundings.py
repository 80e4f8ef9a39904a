"""What lies around a heart whose field is small: what the patients of a population have there who look alike inside.

A network sees the whole chest and reads off it how much was attenuated; zeros around the heart make the patient thin
and the correction too small by up to 45 %. So the stack is continued. In the population a stack is its mean and a
combination of principal components, on a coarse grid; the combination is the most probable one given what the field
shows (Tipping & Bishop, J. R. Stat. Soc. B 61, 1999: normal coefficients, uncorrelated noise), and is read off outside.
Means of bodies of several sizes have no skin, and a haze in the air is taken for a wide body: what is fainter than any
tissue is therefore made air.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectac_fast.errors import InputError

FORMAT = 1
# (slices, rows, columns) about the middle of a stack, and their size.
SHAPE, GRID_MM = (15, 32, 32), 13.6
COMPONENTS = 50
# Standard deviation of what the components leave over, in counts over scale.
_NOISE = 0.1
# Counts over scale up to here count in full, and above by their logarithm: a hot liver must not lead all components.
_KNEE = 0.5
# As far as that is continued: 27 times the scale.
_HOTTEST = 2.5
# From here to there what is continued goes from air to tissue.
_AIR, _TISSUE = 0.04, 0.12
# Of a coarse voxel must lie so much in the field for it to be known.
_KNOWN = 0.999

Axis = tuple[NDArray[np.float64], ...]


@dataclass(frozen=True, eq=False)
class PlaneSurroundings:
    """Stacks of one plane, as `_bent` counts over scale on the coarse grid: mean [n] and components [k, n], orthogonal
    and as long as their standard deviations.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]

    def continued(
        self, stack: NDArray[np.float32], known: NDArray[np.bool_], axes: Axis, mm: Sequence[float]
    ) -> NDArray[np.float32]:
        """`stack`, counts over scale [slices, rows, columns], with other values where `known` [rows, columns] is not.

        axes: where its slices, rows and columns lie, mm from the middle of the heart's stack. mm: their sizes.
        """
        grid = [(np.arange(n) - (n - 1) / 2) * GRID_MM for n in SHAPE]
        slices, rows, columns = (_weights(a, d, g, GRID_MM) for a, d, g in zip(axes, mm, grid))
        coarse = np.tensordot(slices, rows @ np.where(known, stack, 0.0) @ columns.T, axes=1)
        held = (_inside(axes[0], mm[0], grid[0])[:, None, None] & (rows @ known @ columns.T > _KNOWN)).ravel()
        own = self.components[:, held].astype(np.float64)
        off = _bent(coarse).ravel()[held] - self.mean[held]
        share = np.linalg.solve(own @ own.T + _NOISE**2 * np.eye(len(own)), own @ off)
        found = _straightened(self.mean + share @ self.components).reshape(SHAPE)
        slices, rows, columns = (_weights(g, GRID_MM, a, d) for a, d, g in zip(axes, mm, grid))
        fine = np.tensordot(slices, rows @ found @ columns.T, axes=1)
        return np.where(known, stack, _parted(fine)).astype(np.float32)


@dataclass(frozen=True)
class Surroundings:
    """What is around hearts in a population, by plane, and from what field on a model's correction holds.

    field_mm: of the square or circle that must be there at least, for a plane that is averaged with the two others and
    for one that is not. about: where it comes from. weights: SHA-256 of the model's for which that was measured.
    """

    planes: Mapping[str, PlaneSurroundings]
    field_mm: tuple[float, float]
    about: str
    weights: str


def plane_surroundings(
    stacks: Sequence[NDArray[np.floating]], spacing_mm: Sequence[float], components: int = COMPONENTS
) -> PlaneSurroundings:
    """Those of whole stacks [slices, rows, columns] of one plane, counts over scale; spacing_mm: (slice, row, column).

    Raises ValueError for fewer than twice as many stacks as components.
    """
    if len(stacks) < 2 * components:
        raise ValueError(f"{components} components need at least {2 * components} stacks, found {len(stacks)}.")
    grid = [(np.arange(n) - (n - 1) / 2) * GRID_MM for n in SHAPE]
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(stacks[0].shape, spacing_mm)]
    slices, rows, columns = (_weights(a, d, g, GRID_MM) for a, d, g in zip(axes, spacing_mm, grid))
    coarse = [_bent(np.tensordot(slices, rows @ stack @ columns.T, axes=1)).ravel() for stack in stacks]
    mean = np.mean(coarse, axis=0)
    off = np.asarray(coarse) - mean
    # Fewer stacks than voxels: the small matrix has the same eigenvalues.
    variances, vectors = np.linalg.eigh(off @ off.T / (len(stacks) - 1))
    largest = vectors[:, ::-1][:, :components]
    lengths = np.sqrt(np.maximum(variances[::-1][:components], 0.0))
    shapes = largest.T @ off
    shapes *= (lengths / np.maximum(np.linalg.norm(shapes, axis=1), 1e-12))[:, None]
    return PlaneSurroundings(mean.astype(np.float32), shapes.astype(np.float32))


def surroundings_file(weights: Path) -> Path:
    """Where the surroundings of a weight file lie: beside it."""
    return weights.with_suffix(".surroundings.npz")


def write_surroundings(path: Path, known: Surroundings) -> None:
    """Write a file of bytes, 127 steps a component: finer than the population knows them."""
    head = {"format": FORMAT, "about": known.about, "weights_sha256": known.weights, "field_mm": list(known.field_mm)}
    arrays: dict[str, NDArray] = {"head": np.frombuffer(json.dumps(head).encode(), np.uint8)}
    for plane, one in known.planes.items():
        steps = np.abs(one.components).max(axis=1).astype(np.float32) / 127
        arrays |= {f"{plane}.mean": one.mean.astype(np.float16), f"{plane}.steps": steps}
        arrays[f"{plane}.components"] = np.rint(one.components / steps[:, None]).astype(np.int8)
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_surroundings(path: Path, weights: str) -> Surroundings | None:
    """The surroundings of a file, None where there is none or it belongs to other weights (SHA-256).

    Raises InputError for a file that is damaged.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            head: dict[str, Any] = json.loads(file["head"].tobytes())
            if head["format"] != FORMAT:
                raise ValueError(f"format {head['format']!r}")
            if head["weights_sha256"] != weights:
                return None
            names = [name.removesuffix(".mean") for name in file.files if name.endswith(".mean")]
            planes = {}
            for name in names:
                shapes = file[f"{name}.components"].astype(np.float32) * file[f"{name}.steps"][:, None]
                planes[name] = PlaneSurroundings(file[f"{name}.mean"].astype(np.float32), shapes)
        whole = all(one.mean.shape == one.components.shape[1:] == (math.prod(SHAPE),) for one in planes.values())
        if "SA" not in planes or not whole:
            raise ValueError("no plane SA, or arrays of another shape")
        together, alone = map(float, head["field_mm"])
        return Surroundings(planes, (together, alone), str(head["about"]), str(head["weights_sha256"]))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected surroundings, but it cannot be read as such ({error}).") from None


def _weights(
    source: NDArray[np.float64], source_mm: float, target: NDArray[np.float64], target_mm: float
) -> NDArray[np.float64]:
    """[targets, sources] weights as those of `resample.linear_weights`, between pixels that lie anywhere, mm."""
    inside = np.clip(target, source.min(), source.max())
    weights = np.maximum(0.0, 1.0 - np.abs(inside[:, None] - source[None]) / max(abs(source_mm), abs(target_mm)))
    return weights / weights.sum(axis=1, keepdims=True)


def _inside(source: NDArray[np.float64], mm: float, target: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which targets lie within the slices that there are."""
    half = abs(mm) / 2
    return (target >= source.min() - half) & (target <= source.max() + half)


def _bent(counts: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.where(counts > _KNEE, _KNEE + _KNEE * np.log(np.maximum(counts, _KNEE) / _KNEE), counts)


def _straightened(bent: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.where(bent > _KNEE, _KNEE * np.exp((np.clip(bent, _KNEE, _HOTTEST) - _KNEE) / _KNEE), bent)


def _parted(counts: NDArray[np.floating]) -> NDArray[np.floating]:
    """Air where there is less than in tissue, by a smooth step."""
    share = np.clip((counts - _AIR) / (_TISSUE - _AIR), 0.0, 1.0)
    return np.maximum(counts, 0.0) * share * share * (3.0 - 2.0 * share)
