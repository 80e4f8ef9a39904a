"""Tables followed where everything is known: x0 is Gaussian, its denoiser linear, and so are the samples."""

from __future__ import annotations

import numpy as np

from spectac_fast.diffusion.solvers import COLUMNS, solver_table


def follow(table, denoise, x, noises=()):
    """(states before each evaluation, last prediction) of a table's rows in float64, for y = 0.

    denoise: (row number, x) -> prediction of x0. noises: one array for each row that draws noise.
    """
    anchor, history, states, noises = x, [np.zeros_like(x)] * 2, [], list(noises)
    for i in range(len(table)):
        row = dict(zip(COLUMNS, table.rows[i].tolist()))
        states.append(x)
        d = denoise(i, x)
        if i + 1 == len(table):
            break
        if table.corrector[i]:
            x = row["kc"] * anchor + row["v0"] * d + row["v1"] * history[0] + row["v2"] * history[1]
        anchor = x
        x = row["ka"] * x + row["w0"] * d + row["w1"] * history[0] + row["w2"] * history[1]
        if i in table.noise_rows:
            x = x + row["wn"] * noises.pop(0)
        if not (i == 0 and table.boots):
            history = [d, history[0]]
    return states, d


def spread(bridge, tau, *arguments, **options):
    """Standard deviation of a solver's samples for modes x0 ~ N(0, tau^2), tau [M], with exact denoisers and y = 0.

    Samples are linear in the noises they draw; each gets a column of its own.
    """
    table = solver_table(bridge, *arguments, **options)
    sigma, m = bridge.sigma[list(table.t)], table.m
    columns = np.eye(len(table.noise_rows))[:, None, :]

    def denoise(i, x):
        return (tau**2 / (tau**2 + sigma[i] ** 2))[:, None] * x / (1.0 - m[i])

    _, d = follow(table, denoise, np.zeros((len(tau), len(columns))), columns)
    return np.sqrt((d**2).sum(axis=1))
