"""What a training run needs to go on after it was killed, written so that a half-written file never counts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from spectac_fast.errors import InputError
from spectac_fast.train.learner import Learner
from spectac_fast.train.loop.budget import Budget
from spectac_fast.train.loop.schedule import Schedule

_FILE = "state.pt"
_COUNTERS = ("step", "slices", "seconds", "steps_in")


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of a model's weights; young averages forget faster, so the start leaves no trace."""

    def update(average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        return average.lerp(current, 1.0 - min(decay, (1.0 + float(count)) / (10.0 + float(count))))

    return AveragedModel(model, avg_fn=update)


@dataclass
class TrainingState:
    """Learner, average and schedule, and how far the run is.

    step: data order and noise are functions of it. slices: seen so far, by all processes. steps_in: steps by the
    precision they were made in; a run may go on on a machine with another one.
    """

    learner: Learner
    average: AveragedModel
    schedule: Schedule
    step: int = 0
    slices: int = 0
    seconds: float = 0.0
    steps_in: dict[str, int] = field(default_factory=dict)

    @property
    def weights(self) -> nn.Module:
        """What would ship now: the average once it has begun, before that the network itself."""
        return self.average.module if self.average.n_averaged else self.learner.shipped

    def spent(self, budget: Budget) -> float:
        """How much of a budget is used, in its unit."""
        return budget.spent(self.step, self.slices, self.seconds)

    def save(self, run: Path, identity: dict[str, Any]) -> None:
        """Write `run`/state.pt by atomic rename; `identity` says which run this is."""
        content = {
            "identity": identity,
            **{counter: getattr(self, counter) for counter in _COUNTERS},
            "networks": {name: network.state_dict() for name, network in self.learner.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.learner.optimizers.items()},
            "average": self.average.state_dict(),
            "schedule": self.schedule.state(),
        }
        partial = run / (_FILE + ".part")
        torch.save(content, partial)
        os.replace(partial, run / _FILE)

    def load(self, run: Path, identity: dict[str, Any]) -> None:
        """Take up `run`/state.pt; InputError if it is missing, unreadable or of another run."""
        path = run / _FILE
        if not path.is_file():
            raise InputError(f"there is nothing to resume in {run}: {_FILE} is missing")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise InputError(f"the training state {path} cannot be read; it is damaged or not a state file") from error
        different = sorted(key for key in identity if content["identity"].get(key) != identity[key])
        if different:
            raise InputError(f"{path} is of a run with another {' and '.join(different)}; resume with the same options")
        for name, network in self.learner.networks.items():
            network.load_state_dict(content["networks"][name])
        for name, optimizer in self.learner.optimizers.items():
            optimizer.load_state_dict(content["optimizers"][name])
        self.average.load_state_dict(content["average"])
        self.schedule.load(content["schedule"])
        for counter in _COUNTERS:
            setattr(self, counter, content[counter])


def has_state(run: Path) -> bool:
    """Whether a run in this folder has saved a state."""
    return (run / _FILE).is_file()
