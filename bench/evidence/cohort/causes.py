"""Which physical effect shapes the NC-AC gap: a few patients, one effect changed at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import torch

from spectac_fast.cohort.cuts import working_stacks
from spectac_fast.data.scale import count_scale
from spectac_fast.evaluate.regional.segments import polar_map, segment_means
from spectac_fast.evaluate.regional.ventricle import Ventricle
from spectac_fast.phantom.people import Patient, draw
from spectac_fast.phantom.protocol import HANOI, Protocol
from spectac_fast.phantom.protocols import PLANS
from spectac_fast.phantom.simulate import simulate
from spectac_fast.processes import process_pool

TUNING_SEEDS = 480_000
MM = (6.8, 6.8, 6.8)
INFERIOR, ANTERIOR = (3, 9, 14), (0, 6, 12)


def _cold_abdomen(p: Patient) -> Patient:
    def cold(u):
        return replace(u, liver=u.muscle, spleen=u.muscle, kidney=u.muscle, gut=0.0, gut_wall=u.muscle, gallbladder=0.0)

    return replace(p, uptake={phase: cold(u) for phase, u in p.uptake.items()})


def _heavier(p: Patient) -> Patient:
    breast = p.breast + 24 if p.sex == "F" else 0.0
    return replace(
        p,
        bmi=p.bmi + 6,
        fat=p.fat + 12,
        breast=breast,
        left_dome=p.left_dome + 5.4,
        elevation=max(8.0, p.elevation - 4.2),
    )


def _same(p: Patient) -> Patient:
    return p


BASE, NOISELESS = "the cohort's protocol", "no Poisson noise"
EXACT, COLD = "exact attenuation map and scatter estimate", "cold abdomen"
DOME = "left dome 10 mm higher"
HEAVY = "BMI + 6, dome + 10 mm, heart 10 mm deeper"


def _heavy(p: Patient) -> Patient:
    return replace(_heavier(p), left_dome=p.left_dome + 15.4, heart_y=p.heart_y + 10)


NOISE_FREE = replace(HANOI, noise=False)
EXACT_BOTH = replace(HANOI, exact_map=True, ac=replace(HANOI.ac, scatter="exact"))
RECOVERED = {"resolution_recovery": True, "iterations": 8}
FBP = "NC by filtered back-projection"
HEAVY_FBP = f"{FBP}, {HEAVY}"
CHANGES: dict[str, tuple[Callable[[Patient], Patient], Protocol]] = {
    BASE: (_same, HANOI),
    "no scatter in the data": (_same, replace(HANOI, scatter=False)),
    "AC without scatter correction": (_same, PLANS["no-scatter-correction"].protocol),
    NOISELESS: (_same, NOISE_FREE),
    EXACT: (_same, EXACT_BOTH),
    "resolution recovery, 8 iterations, exact map": (
        _same,
        replace(EXACT_BOTH, nc=replace(HANOI.nc, **RECOVERED), ac=replace(EXACT_BOTH.ac, **RECOVERED)),
    ),
    COLD: (_cold_abdomen, HANOI),
    DOME: (lambda p: replace(p, left_dome=p.left_dome + 10), HANOI),
    "heart 10 mm deeper": (lambda p: replace(p, heart_y=p.heart_y + 10), HANOI),
    "BMI + 6": (_heavier, HANOI),
    HEAVY: (_heavy, HANOI),
    FBP: (_same, PLANS["fbp"].protocol),
    HEAVY_FBP: (_heavy, PLANS["fbp"].protocol),
}


def causes(patients: int) -> dict[str, Any]:
    """Simulate `patients` men and as many women without defects for every change; range and inf/ant of NC and AC."""
    seeds: dict[str, list[int]] = {"M": [], "F": []}
    for seed in count(TUNING_SEEDS):
        found = seeds[draw(seed).sex]
        if len(found) < patients:
            found.append(seed)
        if all(len(s) == patients for s in seeds.values()):
            break
    jobs = [(name, seed) for name in CHANGES for seed in seeds["M"] + seeds["F"]]
    with process_pool() as pool:
        measured = dict(zip(jobs, pool.map(_measure, jobs), strict=True))
    rows = []
    for name in CHANGES:
        row: dict[str, Any] = {"name": name}
        for group, sex in (("men", "M"), ("women", "F")):
            found = [measured[name, seed] for seed in seeds[sex]]
            row[group] = {key: np.mean([m[key] for m in found], 0).round(3).tolist() for key in ("range", "ratio")}
        row["gain"] = round(float(np.mean([measured[name, s]["gain"] for s in seeds["M"] + seeds["F"]])), 3)
        rows.append(row)
    noise = [
        np.std(measured[BASE, s]["maps"] / measured[NOISELESS, s]["maps"] - 1, axis=(1, 2))
        for s in seeds["M"] + seeds["F"]
    ]
    return {
        "men": patients,
        "women": patients,
        "rows": rows,
        "noise": (100 * np.mean(noise, 0)).round(2).tolist(),
        "segment_error": _segment_errors([(measured[BASE, s], measured[EXACT, s]) for s in seeds["M"] + seeds["F"]]),
    }


def _segment_errors(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, float]:
    """Mean absolute difference of the 17 segments, % of maximum: NC to AC, and AC to AC with the exact map."""
    nc = np.mean([np.abs(base["segments"][0] - base["segments"][1]).mean() for base, _ in pairs])
    own = np.mean([np.abs(exact["segments"][1] - base["segments"][1]).mean() for base, exact in pairs])
    return {"nc": round(float(nc), 2), "ac_map": round(float(own), 2)}


def _measure(job: tuple[str, int]) -> dict[str, Any]:
    """Segment range and inferior/anterior ratio of (NC, AC), the AC/NC gain, polar maps [2, 24, 72] and segments."""
    name, seed = job
    torch.set_num_threads(1)
    change, protocol = CHANGES[name]
    case = simulate(change(replace(draw(seed), defects=())), protocol)
    nc, ac = working_stacks(case, ("NC", "AC"))[0, 0]
    segments = [segment_means(stack, Ventricle.of_phantom(case.lv), MM) for stack in (nc, ac)]
    ranges = [s.max() - s.min() for s in segments]
    ratios = [s[list(INFERIOR)].mean() / s[list(ANTERIOR)].mean() for s in segments]
    maps = np.stack([polar_map(stack, Ventricle.of_phantom(case.lv), MM) for stack in (nc, ac)])
    return {
        "range": ranges,
        "ratio": ratios,
        "gain": count_scale(ac, MM) / count_scale(nc, MM),
        "maps": maps,
        "segments": segments,
    }
