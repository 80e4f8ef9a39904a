"""A solver's table one row a call, for sampling loops that another library owns.

diffusers and MONAI both write `for t in scheduler.timesteps: x = scheduler.step(network(x, t), t, x)`. The rows and
their noise are those of `sample_bridge`, so such a loop ends with the same tensor. Needs neither library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.diffusion.sampler import numbers_on
from spectac_fast.diffusion.solvers import StepTable, solver_table
from spectac_fast.ops import sampler_step

NETWORK_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class BridgeStep(NamedTuple):
    """What a step gives where there is no diffusers: MONAI unpacks two tensors."""

    prev_sample: Tensor
    pred_original_sample: Tensor


class BridgeScheduler:
    """A bridge and a solver as a scheduler of diffusers' and MONAI's form.

    process:  the bridge.
    steps:    number of network evaluations, or the timesteps themselves; `set_timesteps` changes it.
    options:  further arguments of `solver_table` (solver, order, eta, spacing, clip, ...).

    The loop starts from the condition y, which is the bridge's end: the sample given with the first timestep is y. The
    network is asked at every one of `timesteps`; its output is in the process's objective. Images are [B, C, ...] with
    one axis or more, in float32, or in a half precision that costs the state its digits.

    A loop may as well start in the middle, from a noised image (`add_noise`), once the condition is known
    (`set_source`): with the row of `set_begin_index`, or else with that of the first timestep that `step` is given.
    A multistep solver then begins as it does anywhere, with one row of first order.

    Noise is a function of (seed, row, pixel), and seeds are 0 ... B-1 until `set_seeds` says otherwise: two runs give
    the same sample. Raises ValueError for arguments that make no table.
    """

    order = 1
    init_noise_sigma = 1.0
    # What `step` makes of its two tensors.
    _step_output: Callable[[Tensor, Tensor], Any] = BridgeStep

    table: StepTable
    _running: StepTable
    _begin: int | None
    _row: int | None
    _first: int
    _history: list[Tensor]
    _anchor: Tensor | None
    _end: Tensor | None

    def __init__(self, process: BrownianBridge, steps: int | Sequence[int] = 6, **options: Any) -> None:
        self.process, self.options = process, options
        self._source: Tensor | None = None
        self._seeds: Tensor | None = None
        self._sample = 0
        self._use(steps, None)

    @property
    def num_train_timesteps(self) -> int:
        return self.process.num_timesteps

    @property
    def step_index(self) -> int | None:
        """The row that the next step applies; None where the next step begins a loop."""
        return self._row

    @property
    def begin_index(self) -> int | None:
        """The row that a loop starts with; None leaves it to its first timestep."""
        return self._begin

    def __len__(self) -> int:
        return self.process.num_timesteps

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Make the table of so many evaluations, or of these timesteps (decreasing); a loop starts anew.

        device: of `timesteps`. On the CPU they are compared with what `step` is given; elsewhere only the first of a
        loop is, and none where `set_begin_index` says it, because a comparison waits for the device. Raises ValueError
        unless one of the two is given.
        """
        if (num_inference_steps is None) == (timesteps is None):
            raise ValueError("set_timesteps: give num_inference_steps or timesteps, one of them.")
        steps = num_inference_steps if timesteps is None else list(timesteps)
        assert steps is not None
        self._use(steps, device)

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Let the next loops start with this row; any but the first from a noised image, and with `set_source`."""
        if not 0 <= begin_index < len(self.table):
            raise ValueError(f"begin_index must be in 0 ... {len(self.table) - 1}, found {begin_index}.")
        self._begin = begin_index
        self._restart()

    def index_for_timestep(self, timestep: int | Tensor) -> int:
        """The row of a timestep; ValueError for one that is not in `timesteps`."""
        t = int(timestep)
        if t not in self.table.t:
            raise ValueError(f"timestep must be one of {', '.join(map(str, self.table.t))}, found {t}.")
        return self.table.t.index(t)

    def set_source(self, source: Tensor) -> None:
        """The condition y that `add_noise` and `get_target` go to, and a loop that starts in the middle."""
        self._source = source

    def set_seeds(self, seeds: Tensor | None, sample: int = 0) -> None:
        """Seeds of the slices, int64 [B], or None for 0 ... B-1; another `sample` draws other noise for them."""
        self._seeds, self._sample = seeds, sample

    def scale_model_input(self, sample: Tensor, timestep: int | Tensor | None = None) -> Tensor:
        """The sample itself: the bridge scales nothing."""
        return sample

    @torch.no_grad()
    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        variance_noise: Tensor | None = None,
        return_dict: bool = True,
    ) -> BridgeStep | tuple[Tensor, Tensor]:
        """Apply the next row to the network's output; returns (next sample, prediction of x0), both of sample's shape.

        The last row returns its prediction twice. generator: draws the noise in place of the seeds, one for the batch
        or one for each slice. variance_noise: the noise itself, of sample's shape. return_dict: a plain tuple if False.
        Raises ValueError for a timestep that is not the next, or shapes that do not fit.
        """
        row = self._row_of(timestep)
        table, i = self._running, row - self._first
        x, output = _as_slices(sample).float(), _as_slices(model_output)
        if output.dtype not in NETWORK_DTYPES:
            output = output.float()
        if row == 0:
            self._end = x
        elif self._end is None:
            self._end = _as_slices(self._known_source(sample)).float()
        uses, last = table.uses[i], i + 1 == len(table)
        if not last and table.corrector[i + 1] and not uses.corrector:
            self._anchor = x.clone()
        noise = _noise(x, generator, variance_noise) if uses.noise else None
        following, denoised = torch.empty_like(x), torch.empty_like(x)
        sampler_step(
            x,
            output,
            self._end if uses.condition else None,
            numbers_on(table, x.device).rows[i],
            h1=self._history[0] if uses.first_before else None,
            h2=self._history[1] if uses.second_before else None,
            seeds=self._seeds_for(x) if uses.noise and noise is None else None,
            noise=noise,
            step=row,
            sample=self._sample,
            clip=table.clip,
            anchor=self._anchor if uses.corrector else None,
            x_next=following,
            x0=denoised,
        )
        if i or not table.boots:
            self._history = [denoised, *self._history[:1]]
        self._row = row + 1
        if last:
            following = denoised
            self._restart()
        found = (image.view(sample.shape).to(sample.dtype) for image in (following, denoised))
        return type(self)._step_output(*found) if return_dict else tuple(found)

    def add_noise(
        self, original_samples: Tensor, noise: Tensor, timesteps: Tensor, source: Tensor | None = None
    ) -> Tensor:
        """x_t of the forward process between x0 = original_samples and the source, at timesteps int64 [B] or [1].

        source: the condition, of the same shape; None takes that of `set_source`. Raises ValueError without either.
        """
        return self._noised(original_samples, noise, timesteps, source)[0]

    def get_target(
        self, original_samples: Tensor, noise: Tensor, timesteps: Tensor, source: Tensor | None = None
    ) -> Tensor:
        """What the network is trained to output for `add_noise` of the same arguments."""
        return self._noised(original_samples, noise, timesteps, source)[1]

    def _noised(self, x0: Tensor, noise: Tensor, timesteps: Tensor, source: Tensor | None) -> tuple[Tensor, Tensor]:
        y = self._known_source(x0) if source is None else source
        t = timesteps.to(x0.device, torch.int64).expand(len(x0)).contiguous()
        images = (_as_slices(image).float() for image in (x0, y, noise))
        x, y, noise = images
        pair = self.process.noised(x, y, t, noise=noise)
        return tuple(image.view(x0.shape).to(x0.dtype) for image in pair)

    def _use(self, steps: int | Sequence[int], device: str | torch.device | None) -> None:
        self.table = solver_table(self.process, steps, **self.options)
        self.timesteps = torch.tensor(self.table.t, device=device)
        self.num_inference_steps = len(self.table)
        self._begin = None
        self._restart()

    def _restart(self) -> None:
        self._row = None
        self._history = []
        self._anchor = None
        self._end = None

    def _start(self, row: int) -> None:
        """Begin a loop with this row."""
        self._restart()
        self._row = self._first = row
        self._running = self.table if row == 0 else self._rest(row)

    def _rest(self, row: int) -> StepTable:
        """The table of a loop that begins with this row, from a state of the process and without a history."""
        t = self.table.t[row:]
        if len(set(t)) == len(t):
            return solver_table(self.process, t, **{**self.options, "boot": False})
        # A list that stands still is one of single steps, whose rows need no history.
        parts = {name: getattr(self.table, name)[row:] for name in ("t", "m", "rows", "corrector")}
        return replace(self.table, boots=False, **parts)

    def _row_of(self, timestep: int | Tensor) -> int:
        """The row to apply: the next one, or the first of a new loop where one was left before its end."""
        unseen = isinstance(timestep, Tensor) and timestep.device.type != "cpu"
        if self._row is None:
            self._start(self.index_for_timestep(timestep) if self._begin is None else self._begin)
        assert self._row is not None
        if unseen:
            return self._row
        t, next_t = int(timestep), self.table.t[self._row]
        if t != next_t and t == self.table.t[self._first]:
            self._start(self._first)
        elif t != next_t and t == self.table.t[0] and self._begin is None:
            self._start(0)
        elif t != next_t:
            raise ValueError(f"step: the next timestep is {next_t}, found {t}; set_timesteps starts anew.")
        return self._row

    def _known_source(self, like: Tensor) -> Tensor:
        if self._source is None:
            raise ValueError("the bridge's end is not known here: call set_source(y) with the condition first.")
        if self._source.shape != like.shape:
            raise ValueError(f"source must have shape {list(like.shape)}, found {list(self._source.shape)}.")
        return self._source

    def _seeds_for(self, x: Tensor) -> Tensor:
        return torch.arange(len(x), device=x.device) if self._seeds is None else self._seeds.to(x.device)


def _as_slices(image: Tensor) -> Tensor:
    """[B, C, ...] as [B, C, rows, columns], all axes but the last in one: noise is counted along the pixels."""
    if image.dim() < 3:
        raise ValueError(f"images must be [B, C, ...] with one axis or more, found shape {list(image.shape)}.")
    return image.detach().reshape(*image.shape[:2], -1, image.shape[-1]).contiguous()


def _noise(
    x: Tensor, generator: torch.Generator | Sequence[torch.Generator] | None, given: Tensor | None
) -> Tensor | None:
    """Noise of x's shape from outside, float32; None leaves it to the seeds."""
    if given is not None:
        return _as_slices(given).float()
    if generator is None:
        return None
    if isinstance(generator, torch.Generator):
        return torch.randn(x.shape, generator=generator, device=generator.device).to(x.device)
    if len(generator) != len(x):
        raise ValueError(f"generator must be one, or one for each of {len(x)} slices, found {len(generator)}.")
    return torch.cat([torch.randn(x[:1].shape, generator=g, device=g.device) for g in generator]).to(x.device)
