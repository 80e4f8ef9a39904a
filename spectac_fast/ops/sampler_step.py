"""One row of a solver table applied to a batch of slices: the whole arithmetic between two network evaluations.

Every Brownian-bridge and DDIM solver is a table of 14 numbers per network evaluation. With F the network's output, H1
and H2 the two previous predictions and eps a standard normal,

    d      = clamp(px x + pF F + py y, lo, hi)                            prediction of the target
    xa     = kc anchor + v0 d + v1 H1 + v2 H2 + vy y                      only with a corrector; otherwise xa = x
    x_next = ka xa + w0 d + w1 H1 + w2 H2 + cy y + wn eps

(Diffusion bridge implicit models, Zheng et al. 2025, eq. 11 and its multistep form; the corrector after UniPC, Zhao et
al. 2023.) The operator reads each input once and writes x_next, the prediction for the history, and the next network
input in the network's own dtype, so that a step moves no byte twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from spectac_fast._op import Op
from spectac_fast.ops._check import INT64, NETWORK_DTYPES, check_counters, check_tensors
from spectac_fast.ops.counter_normal import SAMPLING, counter_normal

COLUMNS = ("px", "pF", "py", "ka", "w0", "w1", "w2", "cy", "wn", "kc", "v0", "v1", "v2", "vy")
"""What the 14 numbers of a row multiply, in order."""

_SCHEMA = (
    "sampler_step(Tensor x, Tensor f, Tensor? y, Tensor row, Tensor? h1, Tensor? h2, Tensor? seeds, Tensor? noise, "
    "int step, int sample, float lo, float hi, "
    "Tensor(a!)? anchor, Tensor(b!) x_next, Tensor(c!)? x0, Tensor(d!)? net_input) -> ()"
)

_INPUTS = ("x", "f", "y", "row", "h1", "h2", "seeds", "noise")
_OUTPUTS = ("anchor", "x_next", "x0", "net_input")


def _reference(
    x: Tensor,
    f: Tensor,
    y: Tensor | None,
    row: Tensor,
    h1: Tensor | None,
    h2: Tensor | None,
    seeds: Tensor | None,
    noise: Tensor | None,
    step: int,
    sample: int,
    lo: float,
    hi: float,
    anchor: Tensor | None,
    x_next: Tensor,
    x0: Tensor | None,
    net_input: Tensor | None,
) -> None:
    px, pf, py, ka, w0, w1, w2, cy, wn, kc, v0, v1, v2, vy = row.unbind()

    def add(total: Tensor, *terms: tuple[Tensor, Tensor | None]) -> Tensor:
        for coefficient, value in terms:
            if value is not None:
                total = total + coefficient * value
        return total

    d = add(px * x, (pf, f.float()), (py, y)).clamp(lo, hi)
    xa = x if anchor is None else add(kc * anchor, (v0, d), (v1, h1), (v2, h2), (vy, y))
    if seeds is not None:
        noise = counter_normal(seeds, x.shape[1:], step=step, sample=sample, purpose=SAMPLING)
    following = add(ka * xa, (w0, d), (w1, h1), (w2, h2), (cy, y), (wn, noise))

    x_next.copy_(following)
    for target, value in ((anchor, xa), (x0, d), (net_input, following)):
        if target is not None:
            target.copy_(value)


def _samples(device: torch.device) -> Iterator[dict[str, Any]]:
    """Calls that between them use every argument: first order, multistep with a corrector, noise drawn elsewhere."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, device=device)

    def call(*shape: int, dtype: torch.dtype, **more: Any) -> dict[str, Any]:
        row = torch.rand(len(COLUMNS), device=device)
        return {"x": draw(*shape), "f": draw(*shape).to(dtype), "row": row, "x_next": draw(*shape)} | more

    seeds = torch.arange(2, device=device)
    yield call(2, 1, 8, 8, dtype=torch.float32, y=draw(2, 1, 8, 8), seeds=seeds, step=3)

    doubled = torch.zeros(2, 2, 5, 7, dtype=torch.bfloat16, device=device)
    names = ("y", "h1", "h2", "anchor", "x0")
    rest = {name: draw(2, 1, 5, 7) for name in names} | {"net_input": doubled[:, :1], "clip": (-1.0, 1.0), "sample": 1}
    yield call(2, 1, 5, 7, dtype=torch.bfloat16, seeds=seeds, **rest)

    yield call(1, 3, 4, 4, dtype=torch.float16, y=None, noise=draw(1, 3, 4, 4), x0=draw(1, 3, 4, 4))


op = Op(_SCHEMA, reference=_reference, triton="spectac_fast.kernels.sampler_step:sampler_step", samples=_samples)


def sampler_step(
    x: Tensor,
    f: Tensor,
    y: Tensor | None,
    row: Tensor,
    *,
    h1: Tensor | None = None,
    h2: Tensor | None = None,
    seeds: Tensor | None = None,
    noise: Tensor | None = None,
    step: int = 0,
    sample: int = 0,
    clip: tuple[float, float] | None = None,
    anchor: Tensor | None = None,
    x_next: Tensor,
    x0: Tensor | None = None,
    net_input: Tensor | None = None,
    backend: str | None = None,
) -> None:
    """Apply one row of a solver table; results are written into the tensors given.

    x:          float32 [B, C, H, W], the state the network has just seen.
    f:          the network's output, same shape, float32, bfloat16 or float16.
    y:          float32, the condition (bridge end), or None where the row has py = cy = vy = 0.
    row:        float32 [14] on the same device, in the order of `COLUMNS`.
    h1, h2:     float32, previous predictions, newest first, or None where their weights are 0.
    seeds:      int64 [B], draws eps from `counter_normal` (purpose 0) at (step, sample).
    noise:      float32, eps drawn elsewhere. At most one of seeds and noise; with neither there is no noise term.
    step:       counter of the noise, 0 ... 2^32 - 1; so is sample.
    clip:       (lo, hi) bounds of the prediction, or None.
    anchor:     float32, the previous corrected state, replaced by xa; its presence turns the corrector on.
    x_next:     float32, written.
    x0:         float32, receives the prediction d; may be None.
    net_input:  float32, bfloat16 or float16, receives x_next; may be a channel slice of a larger contiguous tensor.
    backend:    "reference", "native" or "triton"; None lets the dispatcher choose.

    NaN in a term makes the result NaN; clip does not hide it. Outputs must not share memory with inputs or each other.
    Raises TypeError for a wrong dtype, ValueError for a wrong shape, device or layout, RuntimeError where a gradient
    would be needed (there is none) or the back end cannot run.
    """
    lo, hi = (-math.inf, math.inf) if clip is None else clip
    if backend is None and op.may_try(x, f, y, row, h1, h2, seeds, noise, anchor, x_next, x0, net_input):
        try:
            op.default(x, f, y, row, h1, h2, seeds, noise, step, sample, lo, hi, anchor, x_next, x0, net_input)
            return
        except (RuntimeError, TypeError):
            pass  # Either something is wrong, which is said below, or an input only lies otherwise.
    inputs = dict(zip(_INPUTS, (x, f, y, row, h1, h2, seeds, noise)))
    outputs = dict(zip(_OUTPUTS, (anchor, x_next, x0, net_input)))
    _check(inputs, outputs)
    check_counters("sampler_step", step=step, sample=sample)
    _check_clip(clip)
    dense = [t if t is None else t.contiguous() for t in inputs.values()]
    op(*dense, step, sample, float(lo), float(hi), *outputs.values(), backend=backend)


def _check(inputs: dict[str, Tensor | None], outputs: dict[str, Tensor | None]) -> None:
    name, x = "sampler_step", inputs["x"]
    assert x is not None
    if x.dim() != 4:
        raise ValueError(f"{name}: x must be [B, C, H, W], found shape {list(x.shape)}.")
    shapes = {"row": (len(COLUMNS),), "seeds": x.shape[:1]}
    dtypes = {"f": NETWORK_DTYPES, "net_input": NETWORK_DTYPES, "seeds": INT64}
    check_tensors(name, inputs, outputs, shapes, dtypes, with_gaps="net_input")
    if inputs["seeds"] is not None and inputs["noise"] is not None:
        raise ValueError(f"{name}: give seeds or noise, not both.")


def _check_clip(clip: tuple[float, float] | None) -> None:
    if clip is not None and not clip[0] < clip[1]:
        raise ValueError(f"sampler_step: clip must be (lo, hi) with lo < hi, found {clip}.")
