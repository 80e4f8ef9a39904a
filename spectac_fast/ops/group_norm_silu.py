"""Group normalisation, FiLM and an activation in one pass over the data: the block every network here is made of.

For one sample, with m and v the mean and the biased variance of a group (channels of the group x all positions),

    out = f(((x - m) / sqrt(v + eps) * weight + bias) * (1 + scale) + shift)

(Wu and He, ECCV 2018; FiLM after Perez et al., AAAI 2018, in the form of Dhariwal and Nichol, NeurIPS 2021.) The
statistics are at least float32 whatever the dtype of x, from deviations about the mean and never from E[x^2] - m^2.
With as many groups as channels it is instance normalisation (Ulyanov et al. 2016), which is also what batch
normalisation in training mode computes for a batch of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from spectac_fast._op import Op
from spectac_fast.ops._check import NETWORK_DTYPES, check_tensor, check_writing, is_channels_last

ACTIVATIONS = ("none", "relu", "leaky_relu", "silu")
"""Names of f; leaky_relu has slope 0.2 below 0."""

_NAME = "group_norm_silu"
_SCHEMA = (
    "group_norm_silu(Tensor x, int groups, Tensor? weight, Tensor? bias, Tensor? scale, Tensor? shift, float eps, "
    "str activation, Tensor(a!) out) -> ()"
)
_LARGEST_GROUP = 2**31 - 1


def _activate(v: Tensor, activation: str) -> Tensor:
    if activation == "relu":
        return v.relu()
    if activation == "leaky_relu":
        return torch.nn.functional.leaky_relu(v, 0.2)
    return torch.nn.functional.silu(v) if activation == "silu" else v


def _reference(
    x: Tensor,
    groups: int,
    weight: Tensor | None,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    eps: float,
    activation: str,
    out: Tensor,
) -> None:
    if x.numel() == 0:
        return
    wide = torch.promote_types(x.dtype, torch.float32)

    def per_channel(values: Tensor) -> Tensor:
        return values.to(wide).reshape(-1, x.shape[1], *[1] * (x.dim() - 2))

    grouped = x.to(wide).reshape(x.shape[0], groups, -1)
    centred = grouped - grouped.mean(-1, keepdim=True)
    # The rounding of the first mean is as large as the spread where that is small.
    centred = centred - centred.mean(-1, keepdim=True)
    v = (centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()).reshape(x.shape)
    v = v if weight is None else v * per_channel(weight)
    v = v if bias is None else v + per_channel(bias)
    v = v if scale is None else v * (1 + per_channel(scale))
    v = v if shift is None else v + per_channel(shift)
    out.copy_(_activate(v, activation))


def _samples(device: torch.device) -> Iterator[dict[str, Any]]:
    """Calls that between them use every argument and both layouts."""

    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, device=device).to(dtype)

    scale, shift = draw(2, 16).chunk(2, dim=1)
    yield {"x": draw(2, 8, 6, 5), "groups": 4, "weight": draw(8), "bias": draw(8), "scale": scale, "shift": shift}

    bfloat16 = draw(2, 8, 4, 4, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    yield {"x": bfloat16, "groups": 2, "weight": draw(8), "activation": "none", "eps": 1e-6}

    x, out = (draw(1, 3, 7, dtype=torch.float16) for _ in range(2))
    yield {"x": x, "groups": 3, "bias": draw(3), "activation": "leaky_relu", "out": out}


op = Op(_SCHEMA, reference=_reference, triton="spectac_fast.kernels.group_norm_silu:group_norm_silu", samples=_samples)


def group_norm_silu(
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    eps: float = 1e-5,
    activation: str = "silu",
    out: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """Normalise groups of channels, apply affine, FiLM and an activation.

    x:             float32, bfloat16 or float16 [B, C, ...] with at least one dimension of positions. Contiguous and
                   channels_last are read as they lie, any other layout is copied first.
    groups:        a divisor of C. A group holds at most 2^31 - 1 elements (on CUDA also at most 4096 channels).
    weight, bias:  [C] of any of the three dtypes, or None for 1 and 0.
    scale, shift:  [B, C] of any of the three dtypes, or None for 0; rows may lie apart, as `chunk` leaves them.
    eps:           added to the variance, above 0.
    activation:    one of `ACTIVATIONS`.
    out:           like x in shape, dtype, device and layout, written and returned; None allocates it.
    backend:       "reference", "native" or "triton"; None lets the dispatcher choose.

    Returns a tensor like x, in x's layout. NaN or infinity in a group makes the group NaN. A group of one element is
    normalised to 0. Raises TypeError for a wrong dtype, ValueError for a wrong shape, value, device or layout,
    RuntimeError where a gradient would be needed (there is none: train through torch.nn.functional.group_norm) or the
    back end cannot run.
    """
    if backend is None and op.may_try(x, weight, bias, scale, shift, out):
        try:
            written = torch.empty_like(x) if out is None else out
            op.default(x, groups, weight, bias, scale, shift, eps, activation, written)
            return written
        except (RuntimeError, TypeError):
            pass  # Either something is wrong, which is said below, or an input only lies otherwise.
    if x.dim() < 3:
        raise ValueError(f"{_NAME}: x must be [B, C, ...] with positions, found shape {list(x.shape)}.")
    check_tensor(_NAME, "x", x, x, x.shape, NETWORK_DTYPES, "x")
    for name, values, shape in (
        ("weight", weight, x.shape[1:2]),
        ("bias", bias, x.shape[1:2]),
        ("scale", scale, x.shape[:2]),
        ("shift", shift, x.shape[:2]),
    ):
        if values is not None:
            check_tensor(_NAME, name, values, x, shape, NETWORK_DTYPES, "x")
    _check_values(x, groups, eps, activation)
    inputs = {"x": x, "weight": weight, "bias": bias, "scale": scale, "shift": shift}
    check_writing(_NAME, inputs, {"out": out})

    dense = x if x.is_contiguous() or is_channels_last(x) else x.contiguous()
    if out is None:
        out = torch.empty_like(dense)
    else:
        check_tensor(_NAME, "out", out, x, x.shape, (x.dtype,), "x")
        if not (out.is_contiguous() if dense.is_contiguous() else is_channels_last(out)):
            raise ValueError(f"{_NAME}: out must be laid out like x, found strides {out.stride()}.")
    values = [t if t is None or t.stride(-1) == 1 else t.contiguous() for t in (weight, bias, scale, shift)]
    op(dense, groups, *values, float(eps), activation, out, backend=backend)
    return out


def instance_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    activation: str = "none",
    eps: float = 1e-5,
    out: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """`group_norm_silu` with every channel a group of its own; arguments, result and errors are its.

    With the affine of a batch normalisation it gives each sample what that layer in training mode gives it alone.
    """
    channels = x.shape[1] if x.dim() > 1 else 1
    return group_norm_silu(x, max(channels, 1), weight, bias, eps=eps, activation=activation, out=out, backend=backend)


def _check_values(x: Tensor, groups: int, eps: float, activation: str) -> None:
    if groups < 1 or x.shape[1] % groups:
        raise ValueError(f"{_NAME}: groups must divide the {x.shape[1]} channels of x, found {groups}.")
    if x.shape[0] and x[0].numel() // groups > _LARGEST_GROUP:
        raise ValueError(f"{_NAME}: a group must have at most 2^31 - 1 elements, found {x[0].numel() // groups}.")
    if not eps > 0:
        raise ValueError(f"{_NAME}: eps must be above 0, found {eps}.")
    if activation not in ACTIVATIONS:
        raise ValueError(f"{_NAME}: activation must be one of {', '.join(ACTIVATIONS)}, found {activation!r}.")
