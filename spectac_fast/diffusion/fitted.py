"""Tables fitted to a trained network: the numbers of a short solver, by least squares against a long one.

A step is linear in its coefficients, so each row is the answer to one small linear system: which mix of the state and
the predictions at hand comes nearest to the state that the long solver has at the next node, from the same booting
noise. No network is trained. (Cf. S4S, arXiv 2502.17423, and bespoke solvers, which descend the gradient instead.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .bridge import BrownianBridge
from .nodes import choose_nodes
from .sampler import Denoiser, run_table
from .solvers import StepTable, solver_table

# What a file keeps of a row: px to wn. A fitted table has no corrector.
_STORED = 9
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Path:
    """What a long solver did: its state when it reached a timestep, and the image it ended with, float32 [B, ...]."""

    states: dict[int, Tensor]
    image: Tensor


@torch.no_grad()
def long_path(
    denoiser: Denoiser,
    process: BrownianBridge,
    y: Tensor,
    nodes: Sequence[int],
    *,
    seeds: Tensor,
    context: Tensor | None = None,
    steps: int = 200,
) -> Path:
    """DBIM of second order through `nodes` (decreasing, the first is T-1) and about `steps` more, all states kept.

    It boots to nodes[1] as a short table does, so that equal seeds put both on the same state there. Other arguments
    as for `sample_bridge`; context: what the denoiser gets in place of y.
    """
    between = [t for t in choose_nodes(process, steps, "lambda", 3.0) if t < nodes[1]]
    table = solver_table(process, sorted({*nodes, *between}, reverse=True))
    states: dict[int, Tensor] = {}

    def keep(event: dict) -> None:
        if event["t"] in nodes:
            states[event["t"]] = event["x"].clone()

    image = run_table(denoiser, y, table, context=y if context is None else context, seeds=seeds, callback=keep)
    return Path(states, image)


@torch.no_grad()
def fit_table(
    denoiser: Denoiser,
    y: Tensor,
    table: StepTable,
    path: Path,
    *,
    context: Tensor | None = None,
    ridge: float = 1e-4,
) -> StepTable:
    """The table with the numbers of its rows after the booting one fitted to a long path; the same nodes.

    denoiser, y, context: as `path` was made with (`long_path`). Coefficients of every row sum to one, so that a change
    of every image by a constant changes the result by it. ridge: how firmly a row is held to what it was, as a share
    of the columns' mean square.

    Raises ValueError for a table that does not boot, has fewer than two evaluations, draws more noise or corrects.
    """
    if not table.boots or len(table) < 2 or table.noise_rows != (0,) or any(table.corrector) or table.clip:
        raise ValueError("only a table that boots, then draws no noise, corrects and clips nothing can be fitted.")
    context = y if context is None else context
    rows = np.array(table.rows)
    x = path.states[table.t[1]].double()
    history: list[Tensor] = []
    base = y.double()
    for i in range(1, len(table)):
        t = torch.full((len(y),), table.t[i], dtype=torch.int64, device=y.device)
        output = denoiser(x.float(), t, context).double()
        if i + 1 == len(table):
            # The last prediction is the image; an output that is no image has no constant to keep.
            columns = [x - base, output - base if table.objective == "x0" else output]
            found = _solve(columns, path.image.double() - base, rows[i, :2], ridge)
            rows[i, :3] = *found, 1.0 - found[0] - (found[1] if table.objective == "x0" else 0.0)
            break
        px, pf, py = rows[i, :3]
        history.insert(0, px * x + pf * output + py * base)
        known = history[:3]
        columns = [x - base, *(d - base for d in known)]
        found = _solve(columns, path.states[table.t[i + 1]].double() - base, rows[i, 3 : 4 + len(known)], ridge)
        rows[i, 3 : 4 + len(known)] = found
        rows[i, 7] = 1.0 - found.sum()
        x = base + sum(weight * column for weight, column in zip(found.tolist(), columns))
    rows.setflags(write=False)
    return replace(table, rows=rows)


def _solve(columns: Sequence[Tensor], goal: Tensor, prior: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Least squares of goal in the columns, drawn towards a prior."""
    matrix = torch.stack([column.flatten() for column in columns])
    gram = (matrix @ matrix.T).cpu().numpy()
    held = ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram + held, (matrix @ goal.flatten()).cpu().numpy() + held @ prior)


def stored(table: StepTable) -> dict[str, Any]:
    """A fitted table as plain data: {"timesteps": [N], "rows": [N][9], the columns px to wn}."""
    return {"timesteps": list(table.t), "rows": table.rows[:, :_STORED].tolist()}


def table_from(process: BrownianBridge, data: Any) -> StepTable:
    """The table that `stored` made; ValueError for anything that `fit_table` cannot have given for this bridge."""
    if not isinstance(data, dict) or set(data) != {"timesteps", "rows"}:
        raise ValueError('a fitted table must hold exactly "timesteps" and "rows".')
    steps, rows = data["timesteps"], data["rows"]
    if not isinstance(steps, list) or not all(type(t) is int for t in steps) or len(steps) < 2:
        raise ValueError(f"the timesteps of a fitted table must be two whole numbers or more, found {steps}.")
    if steps[0] != process.num_timesteps - 1:
        raise ValueError(f"a fitted table must start at timestep {process.num_timesteps - 1}, found {steps[0]}.")
    table = solver_table(process, steps)
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows) or len(rows) != len(steps):
        raise ValueError(
            f"a fitted table of {len(steps)} timesteps must have as many rows of {_STORED} finite numbers."
        )
    values = np.array(table.rows)
    values[:, :_STORED] = rows
    own, middle, last = table.rows, values[1:-1], values[-1]
    image = last[0] + last[2] + (last[1] if process.objective == "x0" else 0.0)
    kept = (
        (values[0], own[0]),
        (middle[:, :3], own[1:-1, :3]),
        (values[1:, 8], 0.0),
        (middle[:, 3:8].sum(axis=1), 1.0),
        (image, 1.0),
    )
    if not all(np.allclose(found, expected, rtol=0.0, atol=_TOLERANCE) for found, expected in kept):
        raise ValueError(f"the fitted table of {len(steps)} timesteps belongs to another bridge, or is damaged.")
    values.setflags(write=False)
    return replace(table, rows=values)


def _is_row(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) == _STORED
        and all(type(value) in (int, float) and abs(value) < float("inf") for value in row)
    )
