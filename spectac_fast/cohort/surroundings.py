"""What lies around a heart whose field is small: what the patients of a population have there who look alike inside.

A network sees the whole chest and reads off it how much was attenuated; zeros around the heart make the patient thin
and the correction too small by up to 45 %. So what is outside of the field is filled in. In the population a volume
about the heart is its mean and a combination of principal components, on a coarse grid; the combination is the most
probable one given what all planes of a study show (Tipping & Bishop, J. R. Stat. Soc. B 61, 1999: normal coefficients,
uncorrelated noise), and is read off outside; what it leaves over at the edge of the field falls off from there. Means
of bodies of several sizes have no skin, and a haze in the air is taken for a wide body: what is fainter than any tissue
is therefore made air.
"""

from __future__ import annotations

import itertools
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, map_coordinates

from spectac_fast.data.geometry.around import Expected, Stack
from spectac_fast.errors import InputError

FORMAT = 2
# Nodes along the long axis, up and to the side, about the middle of the stacks, and their distance.
SIZE, GRID_MM = 32, 13.6
COMPONENTS = 24
# Standard deviation of what the components leave over, in counts over scale.
_NOISE = 0.1
# What they leave over at the nearest known voxel is continued and falls off by e within so many mm. Of 10 patients of
# whom SA shows 218 mm, 5.2 % are left in the heart so, 6.0 % without and with 60 mm; 40 components leave as much more.
_FALLS_MM = 30.0
# Counts over scale up to here count in full, and above by their logarithm: a hot liver must not lead all components.
_KNEE = 0.5
# As far as that is continued: 27 times the scale.
_HOTTEST = 2.5
# From here to there what is filled in goes from air to tissue.
_AIR, _TISSUE = 0.04, 0.12
# A node is known where voxels that are known fill so much of what is averaged for it, and in the population, whose
# stacks end there, so much.
_KNOWN, _REACHED = 0.85, 0.2


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Volumes about the hearts of a population, as `_bent` counts over scale at the nodes that its stacks reach.

    reached: bool [SIZE, SIZE, SIZE]. mean: [n]; components: [k, n], orthogonal and as long as their standard
    deviations. alone, together: what fields cost a plane that is corrected by itself or averaged with the two others,
    None where that was not measured. about: where it comes from. weights: SHA-256 of those it was measured with.
    """

    reached: NDArray[np.bool_]
    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    about: str
    weights: str = ""
    alone: Expected | None = None
    together: Expected | None = None

    def filled(self, stacks: Sequence[Stack]) -> list[NDArray[np.float32]]:
        """The counts over scale of the stacks of one volume, filled in where they are not known."""
        values, held = gathered(stacks)
        if not held.any():
            return [stack.counts for stack in stacks]
        volume = self._volume(values, held)
        return [stack.counts if stack.known.all() else _continued(stack, volume) for stack in stacks]

    def _volume(self, values: NDArray[np.float64], held: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The most probable volume of counts over scale, given those of the nodes that are held."""
        known = held[self.reached]
        own = self.components[:, known].astype(np.float64)
        off = _bent(values[self.reached][known]) - self.mean[known]
        share = np.linalg.solve(own @ own.T + _NOISE**2 * np.eye(len(own)), own @ off)
        volume = np.zeros(self.reached.shape)
        volume[self.reached] = _parted(_straightened(self.mean + share @ self.components))
        return volume


def _continued(stack: Stack, volume: NDArray[np.float64]) -> NDArray[np.float32]:
    """A stack's counts, and outside of its field those of a volume, without a step at its edge."""
    everywhere = _nodes(stack, np.ones_like(stack.known))
    found = map_coordinates(volume, everywhere, order=1, mode="nearest").reshape(stack.counts.shape)
    size = np.linalg.norm(stack.steps, axis=1)
    away, nearest = distance_transform_edt(~stack.known, sampling=size, return_indices=True)
    left = (stack.counts - found)[tuple(nearest)] * np.exp(-away / _FALLS_MM)
    return np.where(stack.known, stack.counts, np.maximum(found + left, 0.0)).astype(np.float32)


def gathered(stacks: Sequence[Stack], least: float = _KNOWN) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(counts over scale at the nodes [SIZE, SIZE, SIZE], which of them are known): triangular means, as wide as two
    cells, of the known voxels of each stack, averaged over the stacks that know so much of what a node averages.
    """
    totals, weights = np.zeros((2, SIZE**3))
    for stack in stacks:
        weight, total = _spread(_nodes(stack, stack.known), stack.counts[stack.known])
        known = weight * abs(np.linalg.det(stack.steps)) / GRID_MM**3 > least
        totals[known] += total[known]
        weights[known] += weight[known]
    held = weights > 0
    values = np.divide(totals, weights, out=totals, where=held)
    return values.reshape((SIZE,) * 3), held.reshape((SIZE,) * 3)


def _nodes(stack: Stack, which: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Where some of a stack's voxels lie, in numbers of nodes, float64 [3, n]."""
    at = stack.first[:, None] + stack.steps.T @ np.argwhere(which).T
    return at / GRID_MM + (SIZE - 1) / 2


def _spread(nodes: NDArray[np.float64], counts: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(weights, weighted counts) that voxels at `nodes` [3, n] leave at each of the SIZE^3 nodes, trilinearly."""
    low = np.floor(nodes).astype(np.int64)
    share = nodes - low
    sums = np.zeros((2, SIZE**3))
    for corner in itertools.product((0, 1), repeat=3):
        at = low + np.array(corner)[:, None]
        there = ((at >= 0) & (at < SIZE)).all(axis=0)
        weight = np.prod([s if c else 1 - s for s, c in zip(share, corner)], axis=0)[there]
        index = np.ravel_multi_index(at[:, there], (SIZE,) * 3)
        sums[0] += np.bincount(index, weight, SIZE**3)
        sums[1] += np.bincount(index, weight * counts[there], SIZE**3)
    return sums[0], sums[1]


def surroundings_of(volumes: Sequence[Sequence[Stack]], about: str, components: int = COMPONENTS) -> Surroundings:
    """Those of a population: of each volume its stacks, whole, all of one geometry.

    Raises ValueError for fewer volumes than components + 1.
    """
    if len(volumes) <= components:
        raise ValueError(f"{components} components need more than {components} volumes, found {len(volumes)}.")
    found = []
    for stacks in volumes:
        values, reached = gathered(stacks, _REACHED)
        found.append(_bent(values[reached]))
    mean = np.mean(found, axis=0)
    off = np.asarray(found) - mean
    # Fewer volumes than nodes: the small matrix has the same eigenvalues.
    variances, vectors = np.linalg.eigh(off @ off.T / (len(off) - 1))
    shapes = vectors[:, ::-1][:, :components].T @ off
    lengths = np.sqrt(np.maximum(variances[::-1][:components], 0.0))
    shapes *= (lengths / np.maximum(np.linalg.norm(shapes, axis=1), 1e-12))[:, None]
    return Surroundings(reached, mean.astype(np.float32), shapes.astype(np.float32), about)


def surroundings_file(weights: Path) -> Path:
    """Where the surroundings of a weight file lie: beside it."""
    return weights.with_suffix(".surroundings.npz")


def write_surroundings(path: Path, known: Surroundings) -> None:
    """Write a file of bytes, 127 steps a component: finer than the population knows them."""
    costs = {name: getattr(known, name) for name in ("alone", "together")}
    head = {"format": FORMAT, "about": known.about, "weights_sha256": known.weights}
    head |= {name: None if cost is None else vars(cost) for name, cost in costs.items()}
    steps = np.abs(known.components).max(axis=1).astype(np.float32) / 127
    arrays = {
        "head": np.frombuffer(json.dumps(head).encode(), np.uint8),
        "reached": np.packbits(known.reached),
        "mean": known.mean.astype(np.float16),
        "steps": steps,
        "components": np.rint(known.components / steps[:, None]).astype(np.int8),
    }
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
            reached = np.unpackbits(file["reached"], count=SIZE**3).astype(bool).reshape((SIZE,) * 3)
            shapes = file["components"].astype(np.float32) * file["steps"][:, None]
            mean = file["mean"].astype(np.float32)
        if not mean.shape == shapes.shape[1:] == (reached.sum(),):
            raise ValueError(f"{reached.sum()} nodes, but a mean of {mean.shape} and components of {shapes.shape}")
        alone, together = (_expected(head[name]) for name in ("alone", "together"))
        return Surroundings(reached, mean, shapes, str(head["about"]), weights, alone, together)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected surroundings, but it cannot be read as such ({error}).") from None


def _expected(told: dict[str, list[float]] | None) -> Expected | None:
    return None if told is None else Expected(**{name: tuple(map(float, values)) for name, values in told.items()})


def _bent(counts: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.where(counts > _KNEE, _KNEE + _KNEE * np.log(np.maximum(counts, _KNEE) / _KNEE), counts)


def _straightened(bent: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.where(bent > _KNEE, _KNEE * np.exp((np.clip(bent, _KNEE, _HOTTEST) - _KNEE) / _KNEE), bent)


def _parted(counts: NDArray[np.floating]) -> NDArray[np.floating]:
    """Air where there is less than in tissue, by a smooth step."""
    share = np.clip((counts - _AIR) / (_TISSUE - _AIR), 0.0, 1.0)
    return np.maximum(counts, 0.0) * share * share * (3.0 - 2.0 * share)
