"""backproject: the way back of what `project` measures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from bench.cases.project import FIELD_MM, SIDES, VIEWS, subset
from bench.speed.case import Case
from spectac_fast.ops import backproject, view_tables


def cases(device: torch.device) -> Iterator[Case]:
    for side in SIDES:
        plain = view_tables(side, FIELD_MM / side, np.linspace(-45.0, 135.0, VIEWS, endpoint=False)).to(device)
        views = torch.rand(1, VIEWS, side, side, device=device)
        mu = 0.15 * torch.rand(1, side, side, side, device=device)
        choices = (("attenuated, blurred", subset(side, device), {"mu": mu}), ("neither", plain, {}))
        for name, tables, more in choices:
            yield Case(
                op="backproject",
                size=f"{side}^3, {VIEWS} views, {name}",
                ours=lambda tables=tables, more=more, y=views: backproject(y, tables, **more),
                rivals={
                    "plain torch": lambda tables=tables, more=more, y=views: backproject(
                        y, tables, backend="reference", **more
                    )
                },
                moved=4 * (mu.numel() * (1 + len(more)) + views.numel()),
            )
