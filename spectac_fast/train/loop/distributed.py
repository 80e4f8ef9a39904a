"""Training on several devices at once: one process each, started by torchrun, whose variables say who is who."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """Number of this process, 0 in a run of one; rank 0 alone writes files and shows progress."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """How many train together, 1 in a run of one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def start(device: torch.device) -> torch.device:
    """Join the other processes where torchrun started several; returns this process's own device."""
    if processes() == 1:
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace every gradient by its mean over the processes; all in one message."""
    if not dist.is_initialized() or not parameters:
        return
    gradients = []
    for parameter in parameters:
        assert parameter.grad is not None
        gradients.append(parameter.grad)
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([each.numel() for each in gradients])):
        gradient.copy_(mean.view_as(gradient))


def agree(value: float) -> float:
    """Rank 0's value, everywhere: what decides when to stop must not differ between processes."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    if dist.get_backend() == "nccl":
        shared = shared.cuda()
    dist.broadcast(shared, 0)
    return float(shared)
