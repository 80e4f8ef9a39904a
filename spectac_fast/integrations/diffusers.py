"""The bridge's scheduler as a class of diffusers: saved and loaded with pipelines, stepped by their loops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

try:
    from diffusers.configuration_utils import ConfigMixin, register_to_config
    from diffusers.schedulers.scheduling_utils import SchedulerMixin
    from diffusers.utils import BaseOutput
except ImportError as error:
    raise ImportError(
        "spectac_fast.integrations.diffusers needs diffusers: pip install 'spectac_fast[diffusers]'."
    ) from error

from spectac_fast.diffusion.bridge import BrownianBridge

from .scheduling import BridgeScheduler

__all__ = ["BridgeStep", "BrownianBridgeScheduler"]


@dataclass
class BridgeStep(BaseOutput):
    """What a step gives: an output of diffusers, by name, by number or as a mapping.

    prev_sample: the next state. pred_original_sample: the prediction of x0. It unpacks to the two tensors, as MONAI's
    `DiffusionInferer` wants it, where an output of diffusers itself unpacks to their names.
    """

    prev_sample: Tensor
    pred_original_sample: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.to_tuple())


class BrownianBridgeScheduler(BridgeScheduler, SchedulerMixin, ConfigMixin):
    """A Brownian bridge (BBDM) and any of its solvers; `BridgeScheduler` documents set_timesteps, step and add_noise.

        scheduler = BrownianBridgeScheduler(max_var=0.05)
        scheduler.set_timesteps(6)
        x = y
        for t in scheduler.timesteps:
            x = scheduler.step(unet(torch.cat([x, y], 1), t).sample, t, x).prev_sample

    num_train_timesteps, m_min, m_max, max_var, schedule: of the process (`BrownianBridge`). prediction_type: what the
    network predicts, "grad" (x_t - x0), "noise", "ysubx" (y - x0) or "x0". solver_type, solver_order, eta, eta_mode,
    tau2, timestep_spacing, sigma_hi, boot: as solver, order, ... of `solver_table`. clip_sample: bound predictions to
    +- clip_sample_range.
    """

    _step_output = BridgeStep

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        m_min: float = 1e-3,
        m_max: float = 0.999,
        max_var: float = 1.0,
        schedule: str = "linear",
        prediction_type: str = "grad",
        solver_type: str = "dbim",
        solver_order: int = 2,
        eta: float = 0.0,
        eta_mode: str = "dbim",
        tau2: float | None = None,
        timestep_spacing: str = "lambda",
        sigma_hi: float = 3.0,
        boot: bool = True,
        clip_sample: bool = False,
        clip_sample_range: float = 1.0,
    ) -> None:
        BridgeScheduler.__init__(
            self,
            BrownianBridge(num_train_timesteps, m_min, m_max, max_var, schedule, prediction_type),
            solver=solver_type,
            order=solver_order,
            eta=eta,
            eta_mode=eta_mode,
            tau2=tau2,
            spacing=timestep_spacing,
            sigma_hi=sigma_hi,
            boot=boot,
            clip=(-clip_sample_range, clip_sample_range) if clip_sample else None,
        )
