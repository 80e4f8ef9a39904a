"""The page of `python -m bench harm`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from spectac_fast.evaluate import bootstrap

GOAL_CONTRAST, GOAL_MOVED = 0.95, 1.0
_HEAD = """\
# Does a correction do harm?

Made by `python -m bench harm`: {women} women and {men} men of the first cohort (seeds from {first}), none of whom has a
defect of his own, at stress. Weights SHA-256 {weights}, commit {commit}. Intervals: 95 % bootstrap over patients.

Beside this page: hearts that need no correction (`bench/results/expected`, column "refused"), and new low segments of
normals against those of a second acquisition (`bench/results/repeat`).

## True inferior defects

A defect of the whole wall in the middle of the inferior wall takes so much of the uptake; the same patient is imaged
without it too. Contrast: 1 - defect / remote, over the same without the defect. Small: {small}; large:
{large}. Goal: at least {goal:.2f} of AC's contrast, each.

"""


def page(facts: Mapping[str, Any]) -> str:
    """Everything as Markdown."""
    patients = facts["patients"]
    sizes = {
        name: f"{width:.0f} degrees and {length:.0%} of the length" for name, (width, length) in facts["sizes"].items()
    }
    head = _HEAD.format(
        women=sum(p["sex"] == "F" for p in patients),
        men=sum(p["sex"] == "M" for p in patients),
        first=min(p["seed"] for p in patients),
        weights=facts["weights_sha256"][:16],
        commit=facts["commit"],
        goal=GOAL_CONTRAST,
        **sizes,
    )
    lines = ["| size | uptake lost | patients | NC | corrected | AC | truth | NC / AC | corrected / AC | goal |"]
    lines.append("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for size in facts["sizes"]:
        for loss in (f"{each:.0%}" for each in facts["losses"]):
            lines += [_defect(size, loss, who, chosen) for who, chosen in _groups(patients)]
    lines += ["", *_hands(patients)]
    return head + "\n".join(lines) + "\n"


def _groups(patients: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    women, men = ([p for p in patients if p["sex"] == sex] for sex in "FM")
    return [(name, of) for name, of in (("women", women), ("men", men)) if of]


def _defect(size: str, loss: str, who: str, patients: Sequence[Mapping[str, Any]]) -> str:
    found = [p["contrast"][size][loss] for p in patients]
    images = {kind: np.array([each[kind] for each in found]) for kind in ("NC", "corrected", "AC", "TRUTH")}
    ratio, low, high = _interval(len(found), lambda of: images["corrected"][of].mean() / images["AC"][of].mean())
    cells = [f"{values.mean():.3f}" for values in images.values()]
    cells.append(f"{images['NC'].mean() / images['AC'].mean():.2f}")
    verdict = "reached" if ratio >= GOAL_CONTRAST else "missed"
    return f"| {size} | {loss} | {who} | {' | '.join(cells)} | {ratio:.2f} ({low:.2f} - {high:.2f}) | {verdict} |"


def _hands(patients: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "## The operator's hand",
        "",
        "The same volume cut along other axes, corrected anew; the ventricle is where it is. Mean absolute change of",
        "the 17 segments, % of maximum: of the corrected image, of AC, which is cut anew too, and of what the",
        f"correction changes beyond AC. Goal: at most {GOAL_MOVED:.0f} %.",
        "",
        "| axes moved by | corrected | AC | beyond AC | goal |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for hand in patients[0]["moved"]:
        moved = {
            kind: np.array([p["moved"][hand][kind] for p in patients]) for kind in ("corrected", "AC", "beyond AC")
        }
        beyond, low, high = _interval(len(patients), lambda of, m=moved: m["beyond AC"][of].mean())
        lines.append(
            f"| {hand} | {moved['corrected'].mean():.2f} | {moved['AC'].mean():.2f} | "
            f"{beyond:.2f} ({low:.2f} - {high:.2f}) | {'reached' if beyond <= GOAL_MOVED else 'missed'} |"
        )
    return lines


def _interval(count: int, of: Callable[[Any], float]) -> tuple[float, float, float]:
    """(value, low, high) of a figure of patients."""
    draws = np.array([of(chosen) for chosen in bootstrap.resample(count, 0)])
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(of(np.arange(count))), float(low), float(high)
