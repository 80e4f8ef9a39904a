"""The bridge inside MONAI: an inferer that runs the batched sampler, and a scheduler for MONAI's own inferer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

try:
    from monai import __version__ as MONAI_VERSION
    from monai.inferers.inferer import Inferer
    from monai.utils.type_conversion import convert_to_dst_type, convert_to_tensor
except ImportError as error:
    raise ImportError("spectac_fast.integrations.monai needs MONAI: pip install 'spectac_fast[monai]'.") from error

from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.diffusion.bridge_sampler import BridgeSampler
from spectac_fast.diffusion.buckets import SIZES
from spectac_fast.diffusion.sampler import Denoiser
from spectac_fast.diffusion.solvers import StepTable, solver_table
from spectac_fast.models.engine.engine import engine

from .scheduling import BridgeScheduler, BridgeStep

__all__ = ["MONAI_VERSION", "BridgeInferer", "BridgeScheduler", "BridgeStep"]

MODES = ("concat", "crossattn")


class BridgeInferer(Inferer):
    """NC -> AC by a bridge, as an `Inferer`: what `SupervisedEvaluator` and bundles call with (inputs, network).

    process:      the bridge the network was trained on.
    steps:        number of network evaluations, the timesteps themselves, or a finished table.
    mode:         how the network gets the condition: "concat" calls network(cat([x, y], 1), t), "crossattn"
                  network(x, t, context=y); networks of this package take either.
    num_samples, reduce: as `BridgeSampler` takes them.
    batch, graph: likewise; a CUDA graph is recorded anew in every call, so it pays for many slices at once.
    options:      further arguments of `solver_table`.

    Networks of this package run on `spectac_fast.engine`, made in each call from the weights as they then are; any
    other network runs as it is. Raises ValueError for arguments outside these values.
    """

    def __init__(
        self,
        process: BrownianBridge,
        steps: int | Sequence[int] | StepTable = 6,
        *,
        mode: str = "concat",
        num_samples: int | None = None,
        reduce: str | None = None,
        batch: int = SIZES[-1],
        graph: str = "off",
        **options: Any,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, found {mode!r}.")
        self.mode, self.num_samples, self.reduce = mode, num_samples, reduce
        self.process, self.batch, self.graph = process, batch, graph
        self.table = steps if isinstance(steps, StepTable) else solver_table(process, steps, **options)

    def __call__(
        self,
        inputs: Tensor,
        network: Callable[..., Tensor],
        condition: Tensor | None = None,
        seeds: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Samples given inputs, the bridge's end, float32 [B, C, H, W], a MetaTensor or not; the same comes back.

        condition: what the network gets beside the state, [B, ...]; None gives it the inputs. seeds: int64 [B], one
        per slice; None means 0 ... B-1.
        """
        y = _plain(inputs)
        denoiser = _denoiser(network, self.mode, y.device)
        run = BridgeSampler(denoiser, self.process, self.table, batch=self.batch, graph=self.graph)
        found = run(y, seeds, self.num_samples, self.reduce, context=None if condition is None else _plain(condition))
        if isinstance(found, tuple):
            return tuple(convert_to_dst_type(image, inputs)[0] for image in found)
        return convert_to_dst_type(found, inputs)[0]


def _plain(image: Tensor) -> Tensor:
    return convert_to_tensor(image, track_meta=False)


def _denoiser(network: Callable[..., Tensor], mode: str, device: torch.device) -> Denoiser:
    """(x, t, condition) -> output, of a network of this package made ready or of any other as it is."""
    kind = device.type
    try:
        return engine(network, torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32)
    except TypeError:
        if mode == "concat":
            return lambda x, t, condition: network(torch.cat([x, condition], dim=1), t)
        return lambda x, t, condition: network(x, t, context=condition)
