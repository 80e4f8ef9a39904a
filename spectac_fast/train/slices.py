"""Training data: every slice of a cohort as an NC/AC pair, handed out in model units, from disk where it is mapped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectac_fast.cohort.cohort import split_of
from spectac_fast.cohort.map_cohort import MapCohort
from spectac_fast.cohort.paired import PairedCohort, facts_of_patient
from spectac_fast.cohort.views import ViewCohort
from spectac_fast.data.facts import AS_IDEAL, KEEPS_SCATTER, WANTED
from spectac_fast.data.scale import heart_mask
from spectac_fast.errors import InputError
from spectac_fast.models.facts import join_facts
from spectac_fast.terms import IDEAL
from spectac_fast.train.augment import Fields, Uptake, shifted

_CHUNK = 1024
_ALONE_SHARE = 0.1
# Headers that say nothing of a study (NIfTI and npy have none), and single facts that are not said.
_SILENT_SHARE, _UNSAID_SHARE = 0.2, 0.15
AC_ALONE = MappingProxyType({"AC": 1.0})


class Batch(NamedTuple):
    """Slices in model units with their neighbours, float32 [B, 1, H, W] and [B, 2 context, H, W]; heart: 1 within
    60 mm of the centre of the slice's stack, 0 elsewhere. Behind the neighbours stand the facts of each slice's study,
    if any are asked for, as even images (`join_facts`).
    """

    nc: Tensor
    ac: Tensor
    heart: Tensor
    neighbours: Tensor


def cases_of(cohort: PairedCohort | MapCohort | ViewCohort, split: str) -> list[int]:
    """Indices of the cases of a split ("train", "validation"); InputError if there is none.

    Those whose seed belongs to it, and those without a seed, which belong to what their folder is given for.
    """
    cases = [i for i, case in enumerate(cohort.cases) if "seed" not in case or split_of(case["seed"]) == split]
    if not cases:
        raise InputError(f"the cohort of {len(cohort.cases)} cases holds none with a seed of the {split} split")
    return cases


def _stored(counts: NDArray[np.float32]) -> NDArray[np.uint16] | NDArray[np.float32]:
    """Counts in half the memory where that loses nothing."""
    whole = np.rint(counts).clip(0, 65535)
    return whole.astype(np.uint16) if np.array_equal(whole, counts) else counts


def _by_kind(
    cohort: PairedCohort, case: int, phase: str | None, plane: str | None, targets: Mapping[str, float]
) -> dict[str, NDArray]:
    """NC, AC and, where it is a target and there is one, IDEAL of a stack [slices, H, W]: mapped ones stay on disk.

    InputError where IDEAL is the only target and there is none.
    """
    held: dict[str, NDArray] = dict(cohort.mapped(case, phase, plane) or {})
    if not held:
        held = {kind: _stored(stack) for kind, stack in zip(("NC", "AC"), cohort.pair(case, phase, plane), strict=True)}
    if IDEAL in targets and IDEAL not in held:
        try:
            held[IDEAL] = _stored(cohort.ideal(case, phase, plane))
        except InputError:
            if len(targets) == 1:
                raise
    # A plain view: a slice of a mapped array costs several times as much to take.
    return {kind: np.asarray(stack) for kind, stack in held.items()}


class SlicePairs:
    """All slices of some cases, and the scale of each slice's phase. The counts of a cohort that is one array on disk
    stay there and are read as they are needed, so that it may be larger than the memory.

    Model units: NC is 2 nc / scale - 1, AC is 2 ac / (scale gain) - 1, with the scale of the case's phase (from NC
    alone) and one gain for all; float32 [B, 1, H, W].

    targets: how often "AC" and "IDEAL" stand as the target of a random slice, relative to each other; where a stack
    has no IDEAL it is AC. facts: names of what is known of a study (`data.facts.FACTS`).

    Raises InputError where IDEAL is a target and no stack has it, or where it is the only one and a stack has none.
    """

    def __init__(
        self,
        cohort: PairedCohort,
        cases: Sequence[int],
        gain: float,
        targets: Mapping[str, float] = AC_ALONE,
        facts: Sequence[str] = (),
    ) -> None:
        stacks, planes, scales, known = [], [], [], []
        filled: dict[str, list[bool]] = {"AC": [], IDEAL: []}
        self.names = tuple(facts)
        self.targets = {kind: share / sum(targets.values()) for kind, share in targets.items()}
        for i in cases:
            of_patient = facts_of_patient(cohort, i)
            of_phase = {
                phase: cohort.scale(i, phase) for phase in dict.fromkeys(phase for phase, _ in cohort.series(i))
            }
            for phase, plane in cohort.series(i):
                stacks.append(_by_kind(cohort, i, phase, plane, targets))
                planes.append(plane)
                scales.append(np.full(len(stacks[-1]["NC"]), of_phase[phase], np.float32))
                known.append(of_patient.values(facts))
                # Of IDEAL all scatter is taken out.
                filled[IDEAL].append(not of_patient.scatter_corrected)
                filled["AC"].append(not (of_patient.scatter_corrected or of_patient.keeps_scatter))
        self._known = np.stack(known)
        self._filled = {kind: np.array(stacks) for kind, stacks in filled.items()}
        self._stacks, self.shape = stacks, stacks[0]["NC"].shape[1:]
        self._planes, self._with_ideal = np.array(planes, object), np.array([IDEAL in stack for stack in stacks])
        if IDEAL in targets and not self._with_ideal.any():
            raise InputError(f"targets of a recipe: expected {IDEAL} in the cohort, found AC alone")
        self.scales = np.concatenate(scales)
        self.gain, (self.slice_mm, self.pixel_mm) = gain, map(float, cohort.spacing_mm[:2])
        depths = np.array([len(stack["NC"]) for stack in stacks])
        self._depth, self._stack_of = np.repeat(depths, depths), np.repeat(np.arange(len(depths)), depths)
        self._within = np.concatenate([np.arange(depth) for depth in depths])
        # One mask serves all stacks of a depth.
        masks = {int(n): heart_mask((int(n), *self.shape), cohort.spacing_mm) for n in np.unique(depths)}
        first = dict(zip(masks, np.cumsum([0, *masks]), strict=False))
        self._masks = np.concatenate(list(masks.values()))
        self._mask_of = np.array([first[int(n)] for n in self._depth]) + self._within

    def __len__(self) -> int:
        return len(self.scales)

    def _counts(self, indices: NDArray[np.integer], kinds: str | NDArray[np.str_]) -> NDArray[np.float32]:
        """[*indices.shape, H, W]: some slices of one kind, or each of its own."""
        counts = np.empty((*indices.shape, *self.shape), np.float32)
        of_each = np.broadcast_to(kinds, indices.shape)
        for where, index in np.ndenumerate(indices):
            counts[where] = self._stacks[self._stack_of[index]][str(of_each[where])][self._within[index]]
        return counts

    def fit_line(self) -> tuple[float, float]:
        """Least-squares a, b of ac = a nc + b over every pixel, in model units."""
        nc, ac, square, cross, _ = self._moments
        slope = (cross - nc * ac) / (square - nc * nc)
        return slope, ac - slope * nc

    def fit_factor(self) -> float:
        """Least-squares a of ac + 1 = a (nc + 1) over every pixel: one factor in counts."""
        nc, ac, square, cross, _ = self._moments
        return (cross + nc + ac + 1.0) / (square + 2.0 * nc + 1.0)

    def residual_power(self) -> float:
        """Mean squared difference of NC and AC over every pixel, in model units: the identity row's squared error."""
        _, _, square, cross, ac_square = self._moments
        return square - 2.0 * cross + ac_square

    @cached_property
    def _moments(self) -> tuple[float, ...]:
        """Pixel means of nc, ac, nc^2, nc ac and ac^2."""
        sums = np.zeros(5)
        for begin in range(0, len(self), _CHUNK):
            nc, ac = (part.double() for part in self.select(np.arange(begin, min(begin + _CHUNK, len(self)))))
            sums += [float(term.sum()) for term in (nc, ac, nc * nc, nc * ac, ac * ac)]
        return tuple((sums / (len(self) * math.prod(self.shape))).tolist())

    def select(
        self,
        indices: NDArray[np.integer],
        factor: NDArray[np.float32] | float = 1.0,
        targets: str | NDArray[np.str_] = "AC",
    ) -> tuple[Tensor, Tensor]:
        """NC and AC of some slices in model units; `factor` multiplies the counts of both. targets: the kind that
        stands for AC, for all or for each.
        """
        unit = (2.0 * np.asarray(factor, np.float32) / self.scales[indices])[:, None, None]
        nc = self._counts(indices, "NC") * unit - 1.0
        ac = self._counts(indices, targets) * (unit / np.float32(self.gain)) - 1.0
        return torch.from_numpy(nc)[:, None], torch.from_numpy(ac)[:, None]

    def heart(self, indices: NDArray[np.integer]) -> NDArray[np.bool_]:
        """[B, H, W]: the voxels of some slices within 60 mm of the centre of their stack."""
        return self._masks[self._mask_of[indices]]

    def facts(self, indices: NDArray[np.integer]) -> Tensor:
        """What is known of the studies of some slices, float32 [B, facts]."""
        return torch.from_numpy(self._known[self._stack_of[indices]])

    def neighbours(
        self, indices: NDArray[np.integer], context: int, factor: NDArray[np.float32] | float = 1.0
    ) -> Tensor:
        """NC of the `context` slices before and after some slices, as `select` gives NC; a stack's ends repeat."""
        offsets = np.array([k for k in range(-context, context + 1) if k], np.intp)
        own = self._within[indices][:, None]
        within = (own + offsets).clip(0, self._depth[indices][:, None] - 1)
        counts = self._counts(indices[:, None] - own + within, "NC")
        unit = (2.0 * np.asarray(factor, np.float32) / self.scales[indices])[:, None, None, None]
        return torch.from_numpy(counts * unit - 1.0)

    def batch(
        self,
        rng: np.random.Generator,
        size: int,
        shift_px: int,
        jitter: float,
        context: int = 0,
        fields: Fields | None = None,
        uptake: Uptake | None = None,
    ) -> Batch:
        """A random batch with the same random shift and, for the images, the same count factor, the same place of other
        uptake and the same end of the field.

        Half of the slices see their neighbours in reverse, since vendors count slices from either end; some see only
        themselves, as a slice translated on its own does.
        """
        indices = rng.integers(len(self), size=size)
        factor = rng.uniform(1.0 - jitter, 1.0 + jitter, size=size).astype(np.float32)
        shifts = rng.integers(-shift_px, shift_px + 1, size=(size, 2))
        targets = self._drawn_targets(rng, indices)
        nc, ac = self.select(indices, factor, targets)
        beside = self.neighbours(indices, context, factor)
        if uptake is not None:
            planes = self._planes[self._stack_of[indices]]
            there = uptake.factors(self._heights_mm(indices, context), self.shape, self.pixel_mm, planes, rng)
            seen = uptake.as_filled(there, self._filled_by_scatter(indices, targets))
            nc, ac, beside = (
                (image + 1.0) * part - 1.0
                for image, part in ((nc, seen[:, :1]), (ac, there[:, :1]), (beside, seen[:, 1:]))
            )
        heart = torch.from_numpy(self.heart(indices)).float()[:, None]
        images = torch.cat([nc, ac, _augmented(rng, beside, nc)], dim=1)
        if fields is not None:
            images = fields.end(images, self.pixel_mm, rng)
        # What a shift brings in holds no counts, -1 in model units; as a mask in the same units it is no heart.
        group = torch.cat([images, 2.0 * heart - 1.0], dim=1)
        moved = torch.stack([shifted(image, int(dy), int(dx)) for image, (dy, dx) in zip(group, shifts, strict=True)])
        nc, ac, beside, heart = (part.contiguous() for part in moved.split((1, 1, 2 * context, 1), dim=1))
        return Batch(nc, ac, 0.5 * (heart + 1.0), join_facts(beside, self._said(rng, indices, targets), self.shape))

    def _said(self, rng: np.random.Generator, indices: NDArray[np.integer], targets: str | NDArray[np.str_]) -> Tensor:
        """The facts of some slices as headers would have them: not all, and of some files none; what is wanted is what
        stands as the target.
        """
        known = self.facts(indices)
        if not self.names:
            return known
        ideal = torch.from_numpy(np.broadcast_to(np.asarray(targets) == IDEAL, len(indices)).copy())
        for name, value in ((AS_IDEAL, 1.0), (KEEPS_SCATTER, 0.0)):
            if name in self.names:
                known[ideal, self.names.index(name)] = value
        shape = tuple(known.shape)
        silent = (rng.random((shape[0], 1)) < _SILENT_SHARE) | (rng.random(shape) < _UNSAID_SHARE)
        silent &= ~np.isin(self.names, WANTED)
        return torch.where(torch.from_numpy(silent), torch.zeros(()), known)

    def _drawn_targets(self, rng: np.random.Generator, indices: NDArray[np.integer]) -> str | NDArray[np.str_]:
        kinds, shares = list(self.targets), list(self.targets.values())
        if len(kinds) == 1:
            return kinds[0]
        drawn = rng.choice(kinds, size=len(indices), p=shares)
        return np.where(self._with_ideal[self._stack_of[indices]], drawn, "AC")

    def _filled_by_scatter(self, indices: NDArray[np.integer], targets: str | NDArray[np.str_]) -> NDArray[np.bool_]:
        """[B]: whether the NC of some slices holds scatter that what is wanted of them does not."""
        stacks = self._stack_of[indices]
        return np.where(np.asarray(targets) == IDEAL, self._filled[IDEAL][stacks], self._filled["AC"][stacks])

    def _heights_mm(self, indices: NDArray[np.integer], context: int) -> NDArray[np.float64]:
        """How far some slices, then their neighbours as `neighbours` has them, lie from the middle of their stack,
        [B, 1 + 2 context].
        """
        offsets = np.array([0, *(k for k in range(-context, context + 1) if k)])
        last = self._depth[indices][:, None] - 1
        return ((self._within[indices][:, None] + offsets).clip(0, last) - last / 2) * self.slice_mm


def _augmented(rng: np.random.Generator, beside: Tensor, nc: Tensor) -> Tensor:
    """Neighbours [B, 2 context, H, W], half of them in reverse, some of them the slice itself."""
    reverse, alone = (torch.from_numpy(rng.random(len(nc)) < share) for share in (0.5, _ALONE_SHARE))
    beside = torch.where(reverse[:, None, None, None], beside.flip(1), beside)
    return torch.where(alone[:, None, None, None], nc, beside)
