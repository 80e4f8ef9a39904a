"""The page of `python -m bench expected`: what is warned of, by protocol, and the ROC of the expectation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.evidence.expected.fit import FALSE_ALARMS, auc, good, harmful, logs, refused, warned
from bench.evidence.expected.studies import Studies
from bench.evidence.protocols.patients import NOTHING_TO_CORRECT
from spectac_fast.cohort.expected_error import NOTHING_ERROR, NOTHING_RATIO

GOAL_AUC, GOAL_SENSITIVITY = 0.90, 0.95
_HEAD = """\
# Does the warning follow the error?

Made by `python -m bench expected --work DIR --random COHORT --store`: {about}.
Error: mean absolute difference of the 17 segments to AC, % of maximum. Every expectation is that of a process fitted on
other patients (8 folds). The model is told what a header would say, and which AC is wanted: whether it keeps its
scatter (`--keep-scatter`) and recovers resolution where NC does not (`--sharper`).

- A correction is **harmful** where its error is not below that of NC, **good** where it is below 0.8 of NC's and below
  3 %. The limits are set so that {alarms:.0f} % of the good ones are warned of: above {most:.1f} % expected, or above
  {ratio:.2f} of NC's expected error.
- Where NC is expected to be within {nothing:.2f} % and the correction {times:.0f} times as far off, nothing seems to be
  left to correct: the study is **refused**, unless the user says that it is NC.
- weights SHA-256 {weights}, commit {commit}
"""


def table(studies: Studies, found: NDArray[np.float64], limit: tuple[float, float]) -> dict[str, Any]:
    """All that is said of the expectation: in all, and of every protocol."""
    said, stopped = warned(found, limit), refused(found)
    bad, fine = harmful(studies), good(studies)
    nothing = np.isin(studies.protocols, NOTHING_TO_CORRECT)
    ratio = found[:, 0] - found[:, 1]
    rows = []
    for name in dict.fromkeys(studies.protocols.tolist()):
        own = studies.protocols == name
        rows.append(
            {
                "protocol": name,
                "studies": int(own.sum()),
                "error": float(studies.errors[own, 0].mean()),
                "expected": float(np.exp(found[own, 0]).mean()),
                "of NC": float(studies.errors[own, 1].mean()),
                "harmful": int(bad[own].sum()),
                "warned": int(said[own].sum()),
                "harmful and warned": int((bad & said)[own].sum()),
                "good and warned": int((fine & said)[own].sum()),
                "good": int(fine[own].sum()),
                "refused": int(stopped[own].sum()),
            }
        )
    off = found - logs(studies.errors)
    return {
        "auc": auc(ratio, bad),
        "auc, something to correct": auc(ratio[~nothing], bad[~nothing]),
        "sensitivity": float(said[bad].mean()) if bad.any() else None,
        "sensitivity, nothing to correct": float(said[nothing].mean()) if nothing.any() else None,
        "false alarms": float(said[fine].mean()) if fine.any() else None,
        "correlation": float(np.corrcoef(found[:, 0], logs(studies.errors)[:, 0])[0, 1]),
        "typical factor": float(np.exp(np.sqrt(np.mean(off[:, 0] ** 2)))),
        "rows": rows,
    }


def page(facts: Mapping[str, Any]) -> str:
    """Everything as Markdown."""
    most, ratio = facts["limits"]
    parts = [
        _HEAD.format(
            about=facts["about"],
            alarms=100 * FALSE_ALARMS,
            most=most,
            ratio=np.exp(ratio),
            nothing=NOTHING_ERROR,
            times=NOTHING_RATIO,
            weights=facts["weights_sha256"][:16],
            commit=facts["commit"],
        )
    ]
    lines = ["| figure | reached | goal |", "| --- | ---: | ---: |"]
    for name, goal in (
        ("auc", f"{GOAL_AUC:.2f}"),
        ("auc, something to correct", ""),
        ("sensitivity", f"{GOAL_SENSITIVITY:.2f}"),
        ("sensitivity, nothing to correct", f"{GOAL_SENSITIVITY:.2f}"),
        ("false alarms", f"{FALSE_ALARMS:.2f}"),
        ("correlation", ""),
        ("typical factor", ""),
    ):
        value = facts[name]
        lines.append(f"| {name} | {'–' if value is None else format(value, '.2f')} | {goal} |")
    parts.append("\n".join(lines) + "\n")
    lines = [
        "| protocol | studies | NC's error | error | expected | harmful: warned / all | good: warned / all | refused |"
    ]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    lines += [
        f"| {row['protocol']} | {row['studies']} | {row['of NC']:.1f} | {row['error']:.1f} | {row['expected']:.1f} | "
        f"{row['harmful and warned']} / {row['harmful']} | {row['good and warned']} / {row['good']} | "
        f"{row['refused']} |"
        for row in facts["rows"]
    ]
    parts.append("\n".join(lines) + "\n")
    parts.append("![ROC curve, and error against expected error](expected.png)\n")
    return "\n".join(parts)


def picture(studies: Studies, found: NDArray[np.float64], path: Path) -> None:
    """The ROC curve of "no better than NC", and every study's error against what was expected of it."""
    from matplotlib.figure import Figure

    from bench.outputs import MADE_BY, appearing

    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    bad = harmful(studies)
    order = np.argsort(-(found[:, 0] - found[:, 1]), kind="stable")
    hits, alarms = (np.concatenate([[0], np.cumsum(of[order])]) / max(of.sum(), 1) for of in (bad, ~bad))
    left.plot(alarms, hits, color="#1f5f8b")
    left.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8)
    left.set(xlabel="false alarms", ylabel="harmful corrections found", title="no better than NC", aspect="equal")
    for chosen, colour, name in ((~bad, "#1f5f8b", "better than NC"), (bad, "#c0392b", "no better than NC")):
        right.scatter(np.exp(found[chosen, 0]), studies.errors[chosen, 0], s=9, color=colour, label=name)
    ends = [0.5, 1.1 * float(studies.errors[:, 0].max())]
    right.plot(ends, ends, color="#bbbbbb", linewidth=0.8)
    right.set(xscale="log", yscale="log", xlabel="expected error of segments, %", ylabel="error, %")
    right.legend(frameon=False)
    with appearing(path) as part:
        figure.savefig(part, format="png", dpi=130, metadata=MADE_BY)
