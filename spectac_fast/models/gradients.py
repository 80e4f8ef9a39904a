"""Models as plain functions with gradients: what `explain` follows from the corrected image back to the counts.

Bridges give their one-evaluation estimate of x0; models that start from noise their estimate of x0 at the first node
of their sampler, from noise that is always the same. Latent ones decode it without the code book, which has no
gradient. All of it runs in plain torch, because the fast engine has none.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from spectac_fast.diffusion.sampler import start_noise
from spectac_fast.errors import UsageError
from spectac_fast.models.methods.bbdm import BBDM
from spectac_fast.models.methods.cpdm import CPDMTranslator
from spectac_fast.models.methods.ddpm import DDPMTranslator
from spectac_fast.models.methods.ldm import LDMTranslator
from spectac_fast.models.methods.regression import RegressionTranslator
from spectac_fast.models.translator import Translator
from spectac_fast.models.translators.bridge import BridgeTranslator
from spectac_fast.models.translators.generator import GeneratorTranslator

Function = Callable[[Tensor], Tensor]


def differentiable(translator: Translator, nc: Tensor | None = None) -> Function:
    """A model as a plain function with gradients: slices and neighbours [b, 1 + n, H, W] -> [b, 1, H, W].

    nc: float32 [1, 1, H, W], the slice that is explained, for models that also see maps made from it: these are kept as
    they are for it. None makes them from what the function is given. Raises UsageError for a model without a gradient
    from its slices to its image, such as a fitted line.
    """
    if isinstance(translator, CPDMTranslator):
        return _guided(translator, nc)
    if isinstance(translator, BridgeTranslator):
        compute = _first_estimate(translator.model)
    elif isinstance(translator, DDPMTranslator):
        compute = _noise_estimate(translator)
    elif isinstance(translator, LDMTranslator):
        compute = _latent_noise_estimate(translator)
    elif isinstance(translator, RegressionTranslator):
        compute = translator.model
    elif isinstance(translator, GeneratorTranslator):
        compute = _generator(translator)
    else:
        raise UsageError(
            f"explain: expected a diffusion model, a generator or a regression, but {translator.name} has no gradient "
            "from its slices to its image."
        )

    def function(images: Tensor) -> Tensor:
        found = compute(translator.fit.to_network(images))
        return translator.fit.from_network(found, tuple(images.shape[-2:]))

    return function


def _first_estimate(model: BBDM) -> Function:
    def compute(images: Tensor) -> Tensor:
        end, context = model.start(images)
        t = torch.full((len(images),), model.bridge.num_timesteps - 1, dtype=torch.int64, device=images.device)
        return model.painted(model.bridge.x0_from(model(end, t, context), end, end, t))

    return compute


def _guided(translator: CPDMTranslator, nc: Tensor | None) -> Function:
    maps = None
    if nc is not None:
        with torch.no_grad():
            maps = translator.maps(nc.to(translator.device))
    compute = _first_estimate(translator.model)

    def function(images: Tensor) -> Tensor:
        with torch.no_grad():
            own = maps or translator.maps(images[:, :1])
        guided = translator.guided(images, *(one.expand(len(images), -1, -1, -1) for one in own))
        return translator.fit.from_network(compute(guided), tuple(images.shape[-2:]))

    return function


def _noise_estimate(translator: DDPMTranslator) -> Function:
    first = translator.table(None, None, None).t[0]

    def compute(images: Tensor) -> Tensor:
        copies = images[:, :1].expand(-1, translator.channels, -1, -1)
        x, t = _start(copies.shape, first, images.device)
        found = translator.predicted(x, t, torch.cat([copies, images[:, 1:]], dim=1))
        return translator.process.x0_from(found, x, translator.process.levels(t)).mean(dim=1, keepdim=True)

    return compute


def _latent_noise_estimate(translator: LDMTranslator) -> Function:
    model, first = translator.model, translator.table(None, None, None).t[0]

    def compute(images: Tensor) -> Tensor:
        z, t = _start((len(images), *translator.latent_shape(images)), first, images.device)
        found = model(z, t, model.context(images))
        return model.painted(model.process.x0_from(found, z, model.process.levels(t)))

    return compute


def _start(shape: tuple[int, ...], t: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(the first state of seed 0 for every row, its timestep)."""
    seeds = torch.zeros(shape[0], dtype=torch.int64, device=device)
    return start_noise(seeds, tuple(shape[1:])), torch.full_like(seeds, t)


def _generator(translator: GeneratorTranslator) -> Function:
    def compute(images: Tensor) -> Tensor:
        channels = translator.model.in_channels
        copies = images if images.shape[1] == channels else images.expand(-1, channels, -1, -1)
        seeds = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        return translator.model(copies, seeds).mean(dim=1, keepdim=True)

    return compute
