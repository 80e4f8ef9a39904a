"""Compiled networks, trusted only after their gradients have been seen to be the networks' own.

A compiler that loses a gradient trains on without a word: the loss falls a little, and most layers stay what they were.
(Inductor of torch 2.13 loses those of a VQGAN's decoder below its last upsampling, on CPUs, under bfloat16.)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from spectac_fast.errors import SetupError
from spectac_fast.train.learner import Learner

# Weights whose gradient is below this share of the largest are left out: their rounding may be all they are.
_SMALL = 1e-3
# Rounding in bfloat16 moves a gradient by a few per cent; one that is lost or wrong moves by all of itself.
_FAR = 0.5
# A layer that begins at zero hides every gradient behind it.
_START = 0.02


def compile_networks(learner: Learner, step: int) -> None:
    """Compile every network of a learner in place, so that names of weights stay, after which weights, optimizers and
    buffers are what they were before.

    step: whose batch is gone through twice, as the networks are and compiled; the time is mostly the compiler's.
    Raises SetupError, naming a weight, where the gradients of the two are not the same but for rounding.
    """
    from torch._inductor import config as inductor

    own = _gradients(learner, step)
    for network in learner.networks.values():
        network.compile()
    # Dropout then drops the same units.
    with inductor.patch(fallback_random=True):
        found = _gradients(learner, step)
    for (which, name), wanted in own.items():
        largest = max(float(g.norm()) for (of, _), g in own.items() if of == which)
        away = float((found[which, name] - wanted).norm()) if (which, name) in found else float("inf")
        size = float(wanted.norm())
        if not (size <= _SMALL * largest or away <= _FAR * size):
            raise SetupError(
                f"--compile: expected the gradients of the networks as they are, but the compiled ones differ by "
                f"{away / size:.2f} of the gradient of {name}; train without --compile."
            )


def _gradients(learner: Learner, step: int) -> dict[tuple[str, str], Tensor]:
    """The gradient of every weight, by optimizer and name, as the optimizers are given them in a step."""
    names = {p: name for network in learner.networks.values() for name, p in network.named_parameters()}
    found: dict[tuple[str, str], Tensor] = {}
    hooks = []
    for which, optimizer in learner.optimizers.items():

        def keep(optimizer: torch.optim.Optimizer, _: Any, __: Any, which: str = which) -> None:
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        found.setdefault((which, names.get(p, "a weight")), p.grad.detach().clone())

        hooks.append(optimizer.register_step_pre_hook(keep))
    try:
        with _as_before(learner.networks), _as_before(learner.optimizers), torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            drawn = torch.Generator().manual_seed(0)
            for p in names:
                if not p.any():
                    p.copy_(_START * torch.randn(p.shape, generator=drawn))
            with torch.enable_grad():
                learner.step(step)
    finally:
        for hook in hooks:
            hook.remove()
    return found


@contextmanager
def _as_before(parts: Mapping[str, Any]) -> Iterator[None]:
    """What is done inside to the states of networks or optimizers is undone."""
    before = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
    try:
        yield
    finally:
        for name, part in parts.items():
            part.load_state_dict(before[name])
