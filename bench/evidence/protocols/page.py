"""The page of `python -m bench protocols`: a table for each model, and the models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.evidence.protocols.patients import NOTHING_TO_CORRECT

# RMSE in model units below which NC is exact but for rounding.
_EXACT = 1e-5
# Of the mean over protocols, and of each of them.
GOAL, GOAL_EACH = 0.42, 0.60
_SAID = """\
One thing of the first cohort's protocol is changed at a time; {count} patients each (seeds {first}-{last}, of the
validation range), the same for every model. Image: as `spectac correct` writes it, planes combined. Heart region: 60 mm
about the centre of the stack.

- **/ NC**: RMSE over that of NC at its best scale, the one factor a patient that brings NC nearest to the reference;
  ratio of means over patients. **after a factor**: the same when the corrected image has its best factor too.
- **worse, worst**: patients whose RMSE is above that of NC at its best scale, and the largest ratio of one.
- **segments**: mean absolute difference of the 17 segments, % of maximum, NC -> corrected.
- **IDEAL**: AC's reconstruction with the exact map and scatter and without noise; AC's own difference stands beside.
- **truth**: the activity itself, which no camera shows sharply; the same.
- **flagged**: patients with a series outside the population of the training.
- A model that is told facts of a study (sex, body mass index, prone, arc, cardiac camera, FBP, scatter correction of
  NC) is told those that a header would say, with `--keep-scatter` that AC keeps its scatter, and with `--sharper` that
  AC recovers resolution and NC does not; **nothing told** is the same model without them, **ideal** the same model
  asked for IDEAL (`StudyFacts(ideal=True)`).
"""


def page(table: Mapping[str, Any]) -> str:
    """Everything as Markdown."""
    first, last = table["seeds"]
    parts = ["# Other protocols", _SAID.format(count=last - first + 1, first=first, last=last).rstrip()]
    for model, about in table["models"].items():
        rows = {name: found[model] for name, found in table["protocols"].items()}
        parts.append(f"## {model}\n\n{about['row']}, weights {about['weights_sha256'][:12]}.")
        parts += [_table(rows), summary(rows)]
    reference, *others = table["models"]
    parts += [_side_by_side(table, reference, other) for other in others]
    parts.append(f"Commit {table['commit']}; {table['machine']}.")
    return "\n\n".join(parts) + "\n"


def ratio(patients: Sequence[Mapping[str, Any]], kind: str = "AC", image: str = "rmse") -> float:
    """Mean heart RMSE of an image over that of NC at its best scale; NaN where NC is exact."""
    of_nc = np.mean([p["heart"][kind]["nc"] for p in patients])
    return float(np.mean([p["heart"][kind][image] for p in patients]) / of_nc) if of_nc > _EXACT else float("nan")


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "–"


def _table(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    header = ["protocol", "/ NC", "after a factor", "worse", "worst", "segments to AC", "/ NC of IDEAL", "AC's"]
    header += ["segments to IDEAL", "AC's", "segments to truth", "AC's", "flagged"]
    lines = []
    for name, patients in rows.items():
        ratios = [ratio([p]) for p in patients]

        def segments(image: str, of: Sequence[Mapping[str, Any]] = patients) -> str:
            return _number(float(np.mean([p["segments"][image] for p in of])), 1)

        lines.append(
            [
                name,
                _number(ratio(patients)),
                _number(ratio(patients, image="rescaled")),
                f"{sum(p['heart']['AC']['rmse'] > p['heart']['AC']['nc'] for p in patients)}/{len(patients)}",
                _number(max(ratios)),
                f"{segments('NC to AC')} -> {segments('corrected to AC')}",
                _number(ratio(patients, "IDEAL")),
                _number(ratio(patients, "IDEAL", "ac")),
                f"{segments('NC to IDEAL')} -> {segments('corrected to IDEAL')}",
                segments("AC to IDEAL"),
                f"{segments('NC to truth')} -> {segments('corrected to truth')}",
                segments("AC to truth"),
                f"{sum(p['flagged'] > 0 for p in patients)}/{len(patients)}",
            ]
        )
    return _markdown(header, lines)


def summary(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """One paragraph: the mean over protocols and the worst, against their goals, and what needed no correction."""
    ratios = {name: ratio(patients) for name, patients in rows.items() if name not in NOTHING_TO_CORRECT}
    said = []
    if ratios:
        worst = max(ratios, key=ratios.__getitem__)
        said.append(
            f"Mean over {len(ratios)} protocols with something to correct: {np.mean(list(ratios.values())):.2f} of NC "
            f"(goal {GOAL:.2f}); the worst is {worst} with {ratios[worst]:.2f} (goal {GOAL_EACH:.2f} each)."
        )
        every = [patient for name in ratios for patient in rows[name]]
        said += [_to_ideal(every), _to_truth(every)]
    for name in NOTHING_TO_CORRECT:
        if name in rows:
            moved = np.mean([p["segments"]["corrected to AC"] for p in rows[name]])
            said.append(f"Under {name} segments end {moved:.1f} % from AC where none should move.")
    return " ".join(said)


def _to_ideal(patients: Sequence[Mapping[str, Any]]) -> str:
    """How much nearer to IDEAL than CT-AC corrected images are; a patient under many protocols is one patient."""
    from spectac_fast.evaluate import bootstrap

    of_each: dict[int, list[tuple[float, float]]] = {}
    for p in patients:
        segments = p["segments"]
        of_each.setdefault(p["seed"], []).append((segments["corrected to IDEAL"], segments["AC to IDEAL"]))
    own, ct = np.array([np.mean(found, axis=0) for found in of_each.values()]).T
    found = bootstrap.mean(own - ct, bootstrap.resample(len(own), 0))
    nearer = sum(one < other for each in of_each.values() for one, other in each)
    return (
        f"Segments are {own.mean():.2f} % from IDEAL, those of CT-AC {ct.mean():.2f} %: {found.value:+.2f} "
        f"({found.low:+.2f} – {found.high:+.2f}, 95 % bootstrap over patients), nearer in {nearer} of {len(patients)}."
    )


def _to_truth(patients: Sequence[Mapping[str, Any]]) -> str:
    """Who is further from the activity itself than without correction, and is not by CT."""
    own, nc, ct = (
        np.array([p["segments"][f"{image} to truth"] for p in patients]) for image in ("corrected", "NC", "AC")
    )
    worse = own > nc
    return (
        f"From the truth segments are further than those of NC in {int(worse.sum())} of {len(own)}, in "
        f"{int((worse & (ct <= nc)).sum())} of them by the correction and not by CT-AC (goal 0), by "
        f"{(own - nc)[worse & (ct <= nc)].max(initial=0.0):.1f} % at most."
    )


def _side_by_side(table: Mapping[str, Any], reference: str, other: str) -> str:
    """Two models on the same patients: the mean difference of a patient's ratio to NC, and for how many it is less."""
    lines, differences = [], []
    for name, found in table["protocols"].items():
        first, second = found[reference], found[other]
        if name not in NOTHING_TO_CORRECT:
            of_each = np.array([ratio([b]) - ratio([a]) for a, b in zip(first, second, strict=True)])
            differences.append(of_each)
            nearer = f"{int((of_each < 0).sum())}/{len(of_each)}"
            change = f"{of_each.mean():+.2f}"
        else:
            change = nearer = "–"
        segments = [np.mean([p["segments"]["corrected to AC"] for p in of]) for of in (first, second)]
        lines.append(
            [
                name,
                _number(ratio(first)),
                _number(ratio(second)),
                change,
                nearer,
                f"{segments[0]:.1f} -> {segments[1]:.1f}",
            ]
        )
    parts = [f"## {other} against {reference}"]
    header = ["protocol", f"{reference}, / NC", f"{other}, / NC", "difference", "nearer", "segments to AC"]
    parts.append(_markdown(header, lines))
    if differences:
        parts.append(_paired(np.concatenate(differences)))
    return "\n\n".join(parts)


def _paired(differences: np.ndarray) -> str:
    """The sentence of all patients: differences of their ratios to NC, second model less the first."""
    from spectac_fast.evaluate import bootstrap

    found = bootstrap.mean(differences, bootstrap.resample(len(differences), 0))
    return (
        f"Over {len(differences)} patients and protocols the ratio to NC changes by {found.value:+.3f} "
        f"({found.low:+.3f} – {found.high:+.3f}, 95 % bootstrap); it is less in {int((differences < 0).sum())}."
    )
