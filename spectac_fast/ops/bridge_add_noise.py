"""The forward process of the Brownian bridge: a noisy state and the training target in one pass.

With m and s = sqrt(delta) the schedule at each slice's own timestep t and eps a standard normal (Li et al., CVPR 2023,
eq. 4 and 6),

    x_t = x0 + m (y - x0) + s eps

and the network is trained to output, by objective,

    grad   m (y - x0) + s eps        noise   eps        ysubx   y - x0

Written with y - x0, state and target share their sum: x_t is x0 plus the target of `grad`, to one rounding. The
operator reads x0 and y once, gathers m and s itself and draws eps in the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from spectac_fast._op import Op
from spectac_fast.ops._check import INT64, NETWORK_DTYPES, check_counters, check_tensors
from spectac_fast.ops.counter_normal import TRAINING, counter_normal

OBJECTIVES = ("grad", "noise", "ysubx")
"""What a network may be trained to output; the operator counts them from 0."""

_SCHEMA = (
    "bridge_add_noise(Tensor x0, Tensor y, Tensor t, Tensor schedule, Tensor? seeds, Tensor? noise, "
    "int step, int sample, int objective, Tensor(a!) x_t, Tensor(b!)? target) -> ()"
)

_NUMBERS = {name: number for number, name in enumerate(OBJECTIVES)}
_INPUTS = ("x0", "y", "t", "schedule", "seeds", "noise")


def _reference(
    x0: Tensor,
    y: Tensor,
    t: Tensor,
    schedule: Tensor,
    seeds: Tensor | None,
    noise: Tensor | None,
    step: int,
    sample: int,
    objective: int,
    x_t: Tensor,
    target: Tensor | None,
) -> None:
    inside = (t >= 0) & (t < len(schedule))
    row = schedule[torch.where(inside, t, 0)].masked_fill(~inside[:, None], float("nan"))
    m, s = row.view(len(t), 2, *[1] * (x0.dim() - 1)).unbind(1)
    if seeds is not None:
        noise = counter_normal(seeds, x0.shape[1:], step=step, sample=sample, purpose=TRAINING)
    gap = y - x0
    moved = m * gap + s * noise
    x_t.copy_(x0 + moved)
    if target is not None:
        target.copy_((moved, noise, gap)[objective])


def _samples(device: torch.device) -> Iterator[dict[str, Any]]:
    """Every objective; noise drawn and given; sizes that are no multiple of four; every dtype of x_t."""
    m = torch.linspace(0.001, 0.999, 20, device=device)
    schedule = torch.stack([m, (2 * m * (1 - m)).sqrt()], 1)
    for shape, objective, drawn, dtype in (
        ((2, 1, 8, 8), "grad", True, torch.float32),
        ((3, 2, 5, 7), "noise", True, torch.bfloat16),
        ((1, 1, 3, 3), "ysubx", False, torch.float16),
    ):
        x0, y, noise = torch.randn(3, *shape, device=device)
        source = {"seeds": torch.arange(shape[0], device=device), "step": 3} if drawn else {"noise": noise}
        t = torch.randint(20, shape[:1], device=device)
        x_t = torch.empty(shape, dtype=dtype, device=device)
        yield {"x0": x0, "y": y, "t": t, "schedule": schedule, "objective": objective, "x_t": x_t} | source


op = Op(
    _SCHEMA, reference=_reference, triton="spectac_fast.kernels.bridge_add_noise:bridge_add_noise", samples=_samples
)


def bridge_add_noise(
    x0: Tensor,
    y: Tensor,
    t: Tensor,
    schedule: Tensor,
    *,
    objective: str = "grad",
    seeds: Tensor | None = None,
    noise: Tensor | None = None,
    step: int = 0,
    sample: int = 0,
    x_t: Tensor | None = None,
    target: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """A noisy state of the bridge between x0 and y and what the network is trained to make of it: (x_t, target).

    x0:         float32 [B, ...], the target image (bridge start).
    y:          float32, same shape, the condition (bridge end).
    t:          int64 [B], each slice's timestep, 0 ... T - 1. Outside, x_t of that slice is NaN; on the CPU it raises.
    schedule:   float32 [T, 2], m_t and sqrt(delta_t).
    objective:  "grad", "noise" or "ysubx".
    seeds:      int64 [B], draws eps from `counter_normal` (purpose 1) at (step, sample).
    noise:      float32, eps drawn elsewhere. Exactly one of seeds and noise.
    step:       counter of the noise, 0 ... 2^32 - 1; so is sample. A captured CUDA graph repeats it: write new seeds.
    x_t:        float32, bfloat16 or float16, contiguous, written; None allocates float32.
    target:     float32, contiguous, written; None allocates.
    backend:    "reference", "native" or "triton"; None lets the dispatcher choose.

    NaN in a term makes the result NaN. Outputs must not share memory with inputs or each other.
    Raises TypeError for a wrong dtype, ValueError for a wrong shape, device, layout or value, RuntimeError where a
    gradient would be needed (there is none) or the back end cannot run.
    """
    number = _NUMBERS.get(objective)
    if backend is None and number is not None and op.may_try(x0, y, t, schedule, seeds, noise, x_t, target):
        try:
            if t.is_cpu and (values := t.tolist()) and (min(values) < 0 or max(values) >= schedule.size(0)):
                raise ValueError
            state = torch.empty_like(x0) if x_t is None else x_t
            aim = torch.empty_like(x0) if target is None else target
            op.default(x0, y, t, schedule, seeds, noise, step, sample, number, state, aim)
            return state, aim
        except (RuntimeError, TypeError, ValueError):
            pass  # Either something is wrong, which is said below, or an input only lies otherwise.
    inputs = dict(zip(_INPUTS, (x0, y, t, schedule, seeds, noise)))
    _check(inputs, {"x_t": x_t, "target": target}, objective)
    check_counters("bridge_add_noise", step=step, sample=sample)
    _check_range(t, schedule.shape[0])
    dense = [v if v is None else v.contiguous() for v in inputs.values()]
    x_t, target = (torch.empty_like(dense[0]) if given is None else given for given in (x_t, target))
    op(*dense, step, sample, number, x_t, target, backend=backend)
    return x_t, target


def _check(inputs: dict[str, Tensor | None], outputs: dict[str, Tensor | None], objective: str) -> None:
    name, x0, schedule = "bridge_add_noise", inputs["x0"], inputs["schedule"]
    if objective not in OBJECTIVES:
        raise ValueError(f"{name}: objective must be one of {', '.join(OBJECTIVES)}, found {objective!r}.")
    assert x0 is not None
    assert schedule is not None
    if x0.dim() < 1:
        raise ValueError(f"{name}: x0 must be [B, ...], found shape [].")
    if (inputs["seeds"] is None) == (inputs["noise"] is None):
        found = "neither" if inputs["seeds"] is None else "both"
        raise ValueError(f"{name}: give either seeds or noise, found {found}.")
    if schedule.dim() != 2 or schedule.shape[0] == 0:
        raise ValueError(f"{name}: schedule must be [T, 2], found shape {list(schedule.shape)}.")
    shapes = {"t": x0.shape[:1], "seeds": x0.shape[:1], "schedule": (schedule.shape[0], 2)}
    dtypes = {"t": INT64, "seeds": INT64, "x_t": NETWORK_DTYPES}
    check_tensors(name, inputs, outputs, shapes, dtypes)


def _check_range(t: Tensor, timesteps: int) -> None:
    """Only where looking at values waits for nothing; elsewhere the kernels write NaN."""
    if torch.compiler.is_compiling() or type(t) is not Tensor or not t.is_cpu or t.numel() == 0:
        return
    values = t.tolist()
    least, most = min(values), max(values)
    if least < 0 or most >= timesteps:
        raise ValueError(f"bridge_add_noise: t must be in 0 ... {timesteps - 1}, found {least} ... {most}.")
