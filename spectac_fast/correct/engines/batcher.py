"""Slices of many studies in common batches, by shape, first in, first out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from spectac_fast.correct.engines.network import Network
from spectac_fast.correct.study import Prepared
from spectac_fast.errors import InputError

Key = TypeVar("Key")


@dataclass(eq=False)
class _Waiting(Generic[Key]):
    """A study some of whose slices the model has still to see."""

    key: Key
    prepared: Prepared
    outputs: list[NDArray[np.float32]]
    missing: int
    refusal: InputError | None = None


@dataclass(frozen=True)
class _Piece:
    """Consecutive slices of one series of a study, not yet corrected."""

    study: _Waiting
    series: int
    part: slice

    def __len__(self) -> int:
        return self.part.stop - self.part.start


@dataclass(eq=False)
class _Lane:
    """The waiting slices of one shape."""

    pieces: deque[_Piece] = field(default_factory=deque)
    slices: int = 0

    def take(self, count: int) -> list[_Piece]:
        """The oldest slices, at most `count`; the last piece is cut where necessary."""
        taken, room = [], count
        while room and self.pieces:
            piece = self.pieces.popleft()
            start, stop = piece.part.start, piece.part.stop
            if len(piece) > room:
                self.pieces.appendleft(_Piece(piece.study, piece.series, slice(start + room, stop)))
                piece = _Piece(piece.study, piece.series, slice(start, start + room))
            taken.append(piece)
            room -= len(piece)
        self.slices -= count - room
        return taken


class Batcher(Generic[Key]):
    """Collects studies and runs the network whenever there is a full batch of one shape.

    `add` studies, call `run` for a batch; a study comes back under its key once all its slices are done.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._lanes: dict[tuple[int, ...], _Lane] = {}

    def add(self, key: Key, prepared: Prepared) -> None:
        outputs = [self._network.room_for(stack) for stack in prepared.inputs]
        study = _Waiting(key, prepared, outputs, sum(map(len, prepared.inputs)))
        for k, stack in enumerate(prepared.inputs):
            lane = self._lanes.setdefault((*stack.shape[1:], prepared.beside[k].shape[1]), _Lane())
            lane.pieces.append(_Piece(study, k, slice(0, len(stack))))
            lane.slices += len(stack)

    def waiting(self) -> int:
        """Number of slices that wait for the network."""
        return sum(lane.slices for lane in self._lanes.values())

    def full(self) -> bool:
        """Whether some shape has enough slices for a whole batch."""
        return any(lane.slices >= self._network.batch_size for lane in self._lanes.values())

    def run(self) -> tuple[int, list[tuple[Key, list[NDArray[np.float32]] | InputError]]]:
        """Run the batch of the shape with the most slices waiting.

        Returns the number of slices it held and, for every study that is complete with it, its key and the outputs per
        series [slices, channels, rows, columns], or why the model refused its slices.
        """
        shape, lane = max(self._lanes.items(), key=lambda item: item[1].slices)
        pieces = lane.take(self._network.batch_size)
        if not lane.pieces:
            del self._lanes[shape]
        try:
            self._fill(pieces)
        except InputError as refusal:
            for piece in pieces:
                piece.study.refusal = refusal
        for piece in pieces:
            piece.study.missing -= len(piece)
        complete = dict.fromkeys(piece.study for piece in pieces if not piece.study.missing)
        return sum(map(len, pieces)), [(study.key, study.refusal or study.outputs) for study in complete]

    def _fill(self, pieces: list[_Piece]) -> None:
        prepared = [(piece.study.prepared, piece.series, piece.part) for piece in pieces]
        outputs = self._network.run(
            np.concatenate([study.inputs[k][part] for study, k, part in prepared]),
            np.concatenate([study.beside[k][part] for study, k, part in prepared]),
            np.concatenate([study.facts[k][part] for study, k, part in prepared]),
            np.concatenate([study.seeds[k][part] for study, k, part in prepared]),
        )
        for piece, output in zip(pieces, _split(outputs, map(len, pieces))):
            piece.study.outputs[piece.series][piece.part] = output


def _split(stack: NDArray[np.float32], lengths: Iterator[int]) -> Iterator[NDArray[np.float32]]:
    start = 0
    for length in lengths:
        yield stack[start : start + length]
        start += length
