"""The model's outputs for one study that is in memory, in batches of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectac_fast.errors import UsageError

if TYPE_CHECKING:
    from spectac_fast.models.translator import Translator


class Slices(Protocol):
    """What a model is given of a study: as `correct.study.Prepared` has it."""

    @property
    def inputs(self) -> Sequence[NDArray[np.float32]]: ...

    @property
    def beside(self) -> Sequence[NDArray[np.float32]]: ...

    @property
    def facts(self) -> Sequence[NDArray[np.float32]]: ...

    @property
    def seeds(self) -> Sequence[NDArray[np.int64]]: ...


def run_batches(
    compute: Callable[..., Tensor],
    channels: int,
    prepared: Slices,
    translator: Translator,
    options: Mapping[str, Any],
    batch_size: int = 64,
    on_slices: Callable[[int], None] | None = None,
) -> list[NDArray[np.float32]]:
    """compute(nc [b, 1, H, W], seeds=, neighbours=, and facts= where any are asked for) -> [b, channels, H, W] for all
    stacks of a study, one array [slices, channels, rows, columns] a series; stacks with slices of one shape travel in
    common batches.
    """
    inputs = prepared.inputs
    outputs = [np.empty((len(stack), channels, *stack.shape[1:]), np.float32) for stack in inputs]
    for shape in dict.fromkeys(stack.shape[1:] for stack in inputs):
        members = [k for k, stack in enumerate(inputs) if stack.shape[1:] == shape]
        slices = np.concatenate([inputs[k] for k in members])
        around, known, keys = (
            np.concatenate([each[k] for k in members]) for each in (prepared.beside, prepared.facts, prepared.seeds)
        )
        result = np.empty((len(slices), channels, *shape), np.float32)
        for start in range(0, len(slices), batch_size):
            batch = slice(start, start + batch_size)
            nc = torch.from_numpy(slices[batch, None])
            given = {"seeds": torch.from_numpy(keys[batch]), "neighbours": torch.from_numpy(around[batch])}
            if known.shape[1]:
                given["facts"] = torch.from_numpy(known[batch])
            try:
                found = compute(nc, **given)
            except ValueError as error:
                raise UsageError(f"the model {translator.name} cannot run with {dict(options)}: {error}") from error
            result[batch] = found.float().cpu().numpy()
            if on_slices:
                on_slices(len(nc))
        bounds = np.cumsum([len(inputs[k]) for k in members])[:-1]
        for k, part in zip(members, np.split(result, bounds)):
            outputs[k] = part
    return outputs
