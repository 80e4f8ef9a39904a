"""The numbers of the one-page statement on pairs of one's own: what was measured, on whom, how far it is from AC.

Everything but the gain is free of the count scale: images are compared after one factor, segments in % of maximum.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spectac_fast.cohort.own.matching import Left
from spectac_fast.evaluate import bootstrap
from spectac_fast.evaluate.bootstrap import Estimate
from spectac_fast.evaluate.own.seen import WORST, Seen, ranked
from spectac_fast.evaluate.regional.segments import SEGMENT_NAMES
from spectac_fast.evaluate.table.variants import Row

_KINDS = ("NC", "corrected")
# Between the AC/NC gains of phases of one protocol; larger where files are scaled each by itself.
_USUAL_GAINS = 2.5
_PLACE = re.compile(r"^(?P<who>patient \d+)(?: (?:stress|rest))?(?: (?:SA|VLA|HLA))?:? ")


def statement(
    seen: Sequence[Seen],
    row: Row,
    head: Mapping[str, Any],
    *,
    left: Sequence[Left] = (),
    notes: Sequence[str] = (),
    seed: int = 0,
    resamples: int = bootstrap.RESAMPLES,
) -> dict[str, Any]:
    """Everything the statement says, for JSON; no name or identifier of a patient is in it.

    seen: of `seen.Collector`, every phase that was scored. row: what corrected them. head: of the table. left: series
    and files in no pair; notes: what was assumed of the folder.
    """
    numbers = sorted({one.number for one in seen})
    return {
        "patients": len(numbers),
        "phases": dict(Counter(one.phase for one in seen)),
        "pairs": sum(len(one.planes) for one in seen),
        "grids": head["grids"],
        "model": {
            "row": row.label,
            "name": row.translator.name,
            "weights_sha256": row.translator.weights_sha256,
            "gain": row.translator.gain,
        },
        "version": head["version"],
        "commit": head["commit"],
        "resamples": resamples,
        "seen_in_training": head["seen_in_training"].get(row.name or row.label, 0),
        "away": _away(seen, numbers, seed, resamples),
        "segments": _segments(seen, numbers, seed, resamples),
        "gain": {name: float(value) for name, value in _gains(seen).items()},
        "worst": [
            {"patient": number, "phase": one.phase, **{kind: one.away[kind] for kind in _KINDS}}
            for number, one in ranked(list(seen))[:WORST]
        ],
        "warnings": _warnings(seen),
        "refused": head["refused"],
        "left": dict(Counter(each.why for each in left).most_common()),
        "notes": [*notes, *_scaled_apart(seen)],
    }


def _of_patients(values: Sequence[tuple[int, Any]], numbers: Sequence[int]) -> np.ndarray:
    """The mean of each patient's values, [patients, ...], of those that have any."""
    return np.array([np.mean([v for n, v in values if n == number], axis=0) for number in numbers])


def _plain(found: Estimate) -> dict[str, float | None]:
    limits = {name: getattr(found, name) for name in ("value", "low", "high")}
    return {name: float(value) if np.isfinite(value) else None for name, value in limits.items()}


def _away(seen: Sequence[Seen], numbers: Sequence[int], seed: int, resamples: int) -> dict[str, Any]:
    """Difference to AC in the heart region after one factor, %, of NC and corrected; their ratio; who is worse off."""
    indices = bootstrap.resample(len(numbers), seed, resamples)
    nc, corrected = (100.0 * _of_patients([(one.number, one.away[kind]) for one in seen], numbers) for kind in _KINDS)
    return {
        "NC": _plain(bootstrap.mean(nc, indices)),
        "corrected": _plain(bootstrap.mean(corrected, indices)),
        "ratio": _plain(bootstrap.ratio(corrected, nc, indices)),
        "worse": int((corrected > nc).sum()),
    }


def _segments(seen: Sequence[Seen], numbers: Sequence[int], seed: int, resamples: int) -> dict[str, Any] | None:
    """Mean absolute difference to AC over segments, and mean difference in each, percentage points; None without any
    short-axis stack.
    """
    known = [one for one in seen if set(_KINDS) | {"AC"} <= set(one.segments)]
    there = [number for number in numbers if any(one.number == number for one in known)]
    if not there:
        return None
    indices = bootstrap.resample(len(there), seed, resamples)
    found: dict[str, Any] = {"patients": len(there)}
    errors, biases = [], []
    for kind in _KINDS:
        change = [(one.number, one.segments[kind] - one.segments["AC"]) for one in known]
        errors.append(_of_patients([(number, np.abs(value).mean()) for number, value in change], there))
        biases.append(_of_patients(change, there))
        found[kind] = _plain(bootstrap.mean(errors[-1], indices))
    found["ratio"] = _plain(bootstrap.ratio(errors[1], errors[0], indices))
    found["bias"] = [
        {"segment": k + 1, "name": name}
        | {kind: _plain(bootstrap.mean(bias[:, k], indices)) for kind, bias in zip(_KINDS, biases)}
        for k, name in enumerate(SEGMENT_NAMES)
    ]
    return found


def bias_maps(seen: Sequence[Seen]) -> dict[str, np.ndarray]:
    """Mean of NC - AC and of corrected - AC over patients, [24, 72], percentage points; empty without short axis."""
    known = [one for one in seen if set(_KINDS) | {"AC"} <= set(one.polar)]
    there = sorted({one.number for one in known})
    return {
        kind: _of_patients([(one.number, one.polar[kind] - one.polar["AC"]) for one in known], there).mean(axis=0)
        for kind in (_KINDS if known else ())
    }


def _gains(seen: Sequence[Seen]) -> dict[str, float]:
    gains = [one.gain for one in seen]
    return {"median": np.median(gains), "low": min(gains), "high": max(gains)}


def _scaled_apart(seen: Sequence[Seen]) -> list[str]:
    found = _gains(seen)
    if found["high"] <= _USUAL_GAINS * found["low"]:
        return []
    return [
        f"AC/NC gains run from {found['low']:.3g} to {found['high']:.3g}: files may be scaled each by itself, and then "
        "numbers that depend on counts (SSIM, PSNR, RMSE of the table) mean little; those of this page do not."
    ]


def _warnings(seen: Sequence[Seen]) -> list[dict[str, Any]]:
    """Warnings that differ in their numbers alone are one: an example, without its place, and how many patients."""
    kinds: dict[str, tuple[str, set[int]]] = {}
    for one in seen:
        for text in one.warnings:
            said = _PLACE.sub("", text)
            kinds.setdefault(re.sub(r"[\d.]+", "#", said), (said, set()))[1].add(one.number)
    found = [{"example": example, "patients": len(who), "first": min(who)} for example, who in kinds.values()]
    return sorted(found, key=lambda each: -each["patients"])
