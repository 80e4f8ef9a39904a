"""Checks that every operator makes of its arguments; an error is one sentence that names the argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

FLOAT32 = (torch.float32,)
INT64 = (torch.int64,)
NETWORK_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def check_tensor(
    op: str, name: str, tensor: Tensor, like: Tensor, shape: Sequence[int], dtypes: tuple[torch.dtype, ...], of: str
) -> None:
    """It has one of the dtypes, the shape, and the device of `like`, which the caller knows as `of`."""
    if tensor.dtype not in dtypes:
        raise TypeError(f"{op}: {name} must be {' or '.join(map(short, dtypes))}, found {short(tensor.dtype)}.")
    if tensor.shape != torch.Size(shape):
        raise ValueError(f"{op}: {name} must have shape {list(shape)}, found {list(tensor.shape)}.")
    if tensor.device != like.device:
        raise ValueError(f"{op}: {name} must be on {like.device} like {of}, found {tensor.device}.")


def check_contiguous(op: str, name: str, tensor: Tensor) -> None:
    if not tensor.is_contiguous():
        raise ValueError(f"{op}: {name} must be contiguous, found strides {tensor.stride()}.")


def is_channels_last(tensor: Tensor) -> bool:
    """Whether dimension 1 runs fastest and the others follow in order, for any number of positions."""
    return tensor.movedim(1, -1).is_contiguous()


def check_counters(op: str, **counters: int) -> None:
    for name, value in counters.items():
        if not 0 <= value < 2**32:
            raise ValueError(f"{op}: {name} must be in 0 ... 2^32 - 1, found {value}.")


def check_no_gradient(op: str, tensors: Iterable[Tensor | None]) -> None:
    """Torch would return without a gradient and say nothing."""
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        raise RuntimeError(f"{op} has no gradient: call it under torch.no_grad() or on detached tensors.")


def check_apart(op: str, inputs: Mapping[str, Tensor | None], outputs: Mapping[str, Tensor | None]) -> None:
    """No output begins where an input or another output does. Traced tensors have no memory to look at."""
    if torch.compiler.is_compiling():
        return
    seen: dict[tuple[int, int], str] = {}
    for name, tensor in {**inputs, **outputs}.items():
        if tensor is None or tensor.numel() == 0:
            continue
        place = tensor.untyped_storage()._cdata, tensor.storage_offset()
        other = seen.setdefault(place, name)
        if other != name and name in outputs:
            raise ValueError(f"{op}: {name} must not share memory with {other}.")


def check_tensors(
    op: str,
    inputs: Mapping[str, Tensor | None],
    outputs: Mapping[str, Tensor | None],
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, tuple[torch.dtype, ...]],
    with_gaps: str | None = None,
) -> None:
    """All tensors of a call whose outputs are contiguous; those not in shapes or dtypes are float32 like the first.

    with_gaps: the output that may have gaps between the slices of its batch, each of which is one block.
    """
    first, like = next(iter(inputs.items()))
    shape = like.shape
    for name, tensor in (*inputs.items(), *outputs.items()):
        if tensor is not None:
            check_tensor(op, name, tensor, like, shapes.get(name, shape), dtypes.get(name, FLOAT32), first)
    for name, tensor in outputs.items():
        if tensor is not None:
            check_contiguous(op, name, tensor[:1] if name == with_gaps else tensor)
    check_apart(op, inputs, outputs)
    check_no_gradient(op, (*inputs.values(), *outputs.values()))


def all_ready(
    tensors: Iterable[Tensor | None], shape: Sequence[int], device: torch.device, dtypes: tuple[torch.dtype, ...]
) -> bool:
    """Whether those that are there can go to a kernel as they are. Cheap, for what is called at every step."""
    for t in tensors:
        if t is not None and (
            t.dtype not in dtypes or t.shape != shape or t.device != device or t.requires_grad or not t.is_contiguous()
        ):
            return False
    return True


def surely_apart(inputs: Iterable[Tensor | None], outputs: Iterable[Tensor | None]) -> bool:
    """Whether `check_apart` would pass, as far as a quick look tells."""
    read = {t.data_ptr() for t in inputs if t is not None}
    written = [t.data_ptr() for t in outputs if t is not None]
    return len(read.union(written)) == len(read) + len(written)
