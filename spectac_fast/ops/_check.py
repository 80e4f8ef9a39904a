"""Checks that every operator makes of its arguments; an error is one sentence that names the argument."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch._C import _functorch
from torch.autograd import forward_ad

FLOAT32 = (torch.float32,)
INT64 = (torch.int64,)
NETWORK_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Of numpy, which counts candidate solutions: whole batches of strided views take some tens.
_MOST_WORK = 10_000
# Tensors without data begin at 0, which no address is.
_SOMEWHERE = 1 << 12


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


def check_blocks(op: str, name: str, tensor: Tensor) -> None:
    """Each member of the batch is one block of memory, and no two share any; there may be gaps between them."""
    apart = tensor.shape[0] < 2 or tensor.numel() == 0 or tensor.stride(0) >= tensor[0].numel()
    if not (apart and tensor[:1].is_contiguous()):
        raise ValueError(f"{op}: {name} must hold each slice in one block, found strides {tensor.stride()}.")


def check_no_gradient(op: str, tensors: Iterable[Tensor | None]) -> None:
    """Torch would return without a gradient or a tangent and say nothing."""
    given = [t for t in tensors if t is not None]
    if is_transformed(given):
        given = [layer for t in given for layer in _layers(t)]
        if any(_has_tangent(t) for t in given):
            raise RuntimeError(f"{op} has no forward-mode derivative: call it on tensors without a tangent.")
    if torch.is_grad_enabled() and any(t.requires_grad for t in given):
        raise RuntimeError(f"{op} has no gradient: call it under torch.no_grad() or on detached tensors.")


def check_not_batched(op: str, tensors: Iterable[Tensor | None]) -> None:
    """What writes into tensors of the caller cannot be repeated for every member of a batch it does not see."""
    given = [t for t in tensors if t is not None]
    if is_transformed(given) and any(_functorch.is_batchedtensor(layer) for t in given for layer in _layers(t)):
        raise RuntimeError(
            f"{op} does not run under torch.func.vmap: call it on the whole batch, which it takes as it is."
        )


def is_transformed(tensors: Iterable[Tensor]) -> bool:
    """Whether torch.func (grad, vmap, jvp, ...) or forward-mode AD holds any of them; torch.compile sees to its own."""
    if torch.compiler.is_compiling():
        return False
    if _functorch.maybe_current_level() is not None and any(map(_functorch.is_functorch_wrapped_tensor, tensors)):
        return True
    return forward_ad._current_level >= 0 and any(map(_has_tangent, tensors))


def _has_tangent(tensor: Tensor) -> bool:
    if forward_ad._current_level < 0 or not tensor.is_floating_point() or _functorch.is_batchedtensor(tensor):
        return False
    return torch._VF._unpack_dual(tensor, level=0)[1] is not None


def _layers(tensor: Tensor) -> Iterator[Tensor]:
    """The tensor, and what the transforms of torch.func have wrapped in it, one after the other."""
    yield tensor
    while _functorch.is_functorch_wrapped_tensor(tensor):
        tensor = _functorch.get_unwrapped(tensor)
        yield tensor


class _Memory:
    """The bytes of a tensor: in which memory, from where to where, in which steps."""

    def __init__(self, tensor: Tensor) -> None:
        *_, held = _layers(tensor)
        storage, size = held.untyped_storage(), held.element_size()
        without_data = storage.device.type == "meta"
        self.of = storage._cdata if without_data else 0
        self.first = held.storage_offset() * size if without_data else held.data_ptr()
        self._size, self._shape = size, tuple(held.shape)
        self._steps = tuple(size * step for step in held.stride())
        self.past = self.first + size + sum((n - 1) * step for n, step in zip(self._shape, self._steps))

    @property
    def _cells(self) -> np.ndarray:
        """The same places as numpy knows them; nobody reads there."""
        place = (self.first + _SOMEWHERE, False)
        view = {"version": 3, "data": place, "shape": self._shape, "strides": self._steps, "typestr": f"|V{self._size}"}
        return np.asarray(type("_", (), {"__array_interface__": view})())

    def shares(self, other: _Memory) -> bool:
        """Whether any byte belongs to both; where that is too hard to tell, it counts as shared."""
        if self.of != other.of or self.past <= other.first or other.past <= self.first:
            return False
        try:
            # numpy's stubs know its two named amounts of work alone.
            return np.shares_memory(self._cells, other._cells, max_work=_MOST_WORK)  # type: ignore[arg-type]
        except np.exceptions.TooHardError:
            return True


def check_apart(op: str, inputs: Mapping[str, Tensor | None], outputs: Mapping[str, Tensor | None]) -> None:
    """No output shares a byte with an input or another output. Traced tensors have no memory to look at."""
    if torch.compiler.is_compiling():
        return
    seen: dict[str, _Memory] = {}
    for name, tensor in {**inputs, **outputs}.items():
        if tensor is None or tensor.numel() == 0:
            continue
        memory = _Memory(tensor)
        other = next((other for other, its in seen.items() if memory.shares(its)), None) if name in outputs else None
        if other is not None:
            raise ValueError(f"{op}: {name} must not share memory with {other}.")
        seen[name] = memory


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
    assert like is not None
    shape = like.shape
    for name, tensor in (*inputs.items(), *outputs.items()):
        if tensor is not None:
            check_tensor(op, name, tensor, like, shapes.get(name, shape), dtypes.get(name, FLOAT32), first)
    for name, tensor in outputs.items():
        if tensor is not None:
            (check_blocks if name == with_gaps else check_contiguous)(op, name, tensor)
    check_writing(op, inputs, outputs)


def check_writing(op: str, inputs: Mapping[str, Tensor | None], outputs: Mapping[str, Tensor | None]) -> None:
    """What holds for every operator that writes into tensors: no derivative, no vmap, memory apart."""
    everything = (*inputs.values(), *outputs.values())
    check_no_gradient(op, everything)
    check_not_batched(op, everything)
    check_apart(op, inputs, outputs)
