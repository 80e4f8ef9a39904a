"""From the numbers of each patient to estimates with intervals, and to the fewest evaluations of equal quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from spectac_fast.evaluate import bootstrap

REFERENCE = "published", 200
"""The sampler of the published code at its own number of evaluations: what all others are held against."""

HALF = "default, bfloat16"
"""The default sample with its network in another precision: a check, not a solver."""

SMALLER, LARGER = ("rmse", "texture"), ("ssim",)


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows {"solver", "evaluations", "samples", "patients": numbers by name} with estimates over the patients.

    Adds, where the reference is among them, "against": the paired differences to it, "equal": whether RMSE, SSIM and
    texture lie within its 95 % interval or are better, and "sample": whether the spread between samples does too, so
    that it is a sample and not an estimate. Rows of other weights have "other" (quality_others.py).
    """
    indices = bootstrap.resample(len(rows[0]["patients"]), seed=0)
    reference = next((row for row in rows if (row["solver"], row["evaluations"]) == REFERENCE), None)
    base = reference and _estimates(reference, indices)
    found = []
    for row in rows:
        own = _estimates(row, indices)
        entry = {**row, "estimates": {name: asdict(value) for name, value in own.items()}}
        if base:
            entry["against"] = {
                name: asdict(bootstrap.difference(_column(row, name), _column(reference, name), indices))
                for name in own
                if name in base
            }
            entry["equal"] = all(own[name].value <= base[name].high for name in SMALLER) and all(
                own[name].value >= base[name].low for name in LARGER
            )
            entry["sample"] = (
                entry["equal"] and "spread" in own and base["spread"].low <= own["spread"].value <= base["spread"].high
            )
        found.append(entry)
    return found


def _column(row: Mapping[str, Any], name: str) -> np.ndarray:
    return np.array([patient[name] for patient in row["patients"]])


def _estimates(row: Mapping[str, Any], indices: np.ndarray) -> dict[str, bootstrap.Estimate]:
    return {name: bootstrap.mean(_column(row, name), indices) for name in row["patients"][0]}


def fewest(summary: Sequence[Mapping[str, Any]], claim: str) -> Mapping[str, Any] | None:
    """The row with the fewest evaluations that is "equal" or a "sample", of those the one with the smallest RMSE.

    None if there is none. Neither the reference nor the row in bfloat16 nor one of other weights is chosen.
    """
    able = [
        row
        for row in summary
        if row.get(claim)
        and (row["solver"], row["evaluations"]) != REFERENCE
        and row["solver"] != HALF
        and "other" not in row
    ]
    return min(able, key=lambda row: (row["evaluations"], row["estimates"]["rmse"]["value"]), default=None)


def spread_to_error(row: Mapping[str, Any], summary: Sequence[Mapping[str, Any]]) -> float | None:
    """Spread of a row as a share of the error of one evaluation, in the heart: 1 for a calibrated posterior's samples.

    One evaluation, of the same weights, estimates the posterior's mean, whose error the posterior's spread is. None
    where either is missing.
    """
    weights = _weights(row)
    single = next((other for other in summary if other["evaluations"] == 1 and _weights(other) == weights), None)
    own = row["estimates"].get("spread")
    return own["value"] / single["estimates"]["rmse_heart"]["value"] if single and own and own["value"] else None


def _weights(row: Mapping[str, Any]) -> str | None:
    """Whose row it is: the label of other weights, None for the bridge that is measured."""
    return row["solver"] if "other" in row else None
