"""bridge_add_noise in Triton: one program per block of a slice, four consecutive elements per Philox counter.

The formulas and the meaning of every argument stand in spectac_fast/ops/bridge_add_noise.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from spectac_fast.kernels.philox import counter_normal

QUADS = 256
"""Counters a program handles; a multiple of the 128 threads that run it."""


@triton.jit(do_not_specialize=["step", "sample"])
def bridge_add_noise_kernel(
    x0_ptr,  # float32 [B, elements], and so y, noise and target; absent ones are None
    y_ptr,
    t_ptr,  # int64 [B]
    schedule_ptr,  # float32 [timesteps, 2]
    seeds_ptr,  # int64 [B]
    noise_ptr,
    x_t_ptr,
    target_ptr,
    elements,
    timesteps,
    step,
    sample,
    OBJECTIVE: tl.constexpr,  # 0 grad, 1 noise, 2 ysubx
    QUADS: tl.constexpr,
):
    blocks = tl.cdiv(elements, 4 * QUADS)
    slice_index = (tl.program_id(0) // blocks).to(tl.int64)
    quad = (tl.program_id(0) % blocks) * QUADS + tl.arange(0, QUADS)
    within = quad[:, None] * 4 + tl.arange(0, 4)[None, :]
    mask = within < elements
    at = slice_index * elements + within

    t = tl.load(t_ptr + slice_index)
    inside = (t >= 0) & (t < timesteps)
    m = tl.load(schedule_ptr + 2 * t, mask=inside, other=float("nan"))
    s = tl.load(schedule_ptr + 2 * t + 1, mask=inside, other=float("nan"))

    x0 = tl.load(x0_ptr + at, mask=mask, other=0.0)
    gap = tl.load(y_ptr + at, mask=mask, other=0.0) - x0
    if seeds_ptr is not None:
        n0, n1, n2, n3 = counter_normal(tl.load(seeds_ptr + slice_index), quad, step, sample, 1)
        noise = tl.reshape(tl.join(tl.join(n0, n2), tl.join(n1, n3)), (QUADS, 4))
    else:
        noise = tl.load(noise_ptr + at, mask=mask, other=0.0)
    moved = tl.fma(noise, s, gap * m)

    tl.store(x_t_ptr + at, (x0 + moved).to(x_t_ptr.dtype.element_ty), mask=mask)
    if target_ptr is not None:
        if OBJECTIVE == 0:
            tl.store(target_ptr + at, moved, mask=mask)
        elif OBJECTIVE == 1:
            tl.store(target_ptr + at, noise, mask=mask)
        else:
            tl.store(target_ptr + at, gap, mask=mask)


def bridge_add_noise(
    x0: torch.Tensor,
    y: torch.Tensor,
    t: torch.Tensor,
    schedule: torch.Tensor,
    seeds: torch.Tensor | None,
    noise: torch.Tensor | None,
    step: int,
    sample: int,
    objective: int,
    x_t: torch.Tensor,
    target: torch.Tensor | None,
) -> None:
    """Launch on the current stream of x0's device; arguments as the operator's schema has them, already checked."""
    if x0.numel() == 0:
        return
    elements = x0[0].numel()
    tensors = (x0, y, t, schedule, seeds, noise, x_t, target)
    grid = (x0.shape[0] * triton.cdiv(elements, 4 * QUADS),)
    with torch.cuda.device_of(x0):
        bridge_add_noise_kernel[grid](*tensors, elements, len(schedule), step, sample, OBJECTIVE=objective, QUADS=QUADS)
