"""The page of `python -m bench clinical`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

GOAL_ERROR, GOAL_CONTRAST, AC_FLOOR = 1.2, 0.05, 2.1


def page(table: Mapping[str, Any]) -> str:
    """Every number of the table as Markdown."""
    seeds = table["seeds"]
    parts = [
        "# What physicians read: segments, perfusion deficit, defects",
        f"{len(seeds)} synthetic patients (seeds {min(seeds)} to {max(seeds)}), stress and rest; weights "
        f"{table['weights_sha256'][:12]}. Intervals: 95 % bootstrap over patients. Uptake in % of each image's maximum "
        "(the polar map's 99th percentile). The ventricle is found on NC, once a phase, and used for all its images.",
        "## Seventeen segments",
        _segments(table),
        _verdict(table),
        _by_segment(table),
        "Bland-Altman against AC, all segments: "
        + "; ".join(
            f"{kind} bias {a['bias']:+.2f}, limits of agreement {a['low']:+.1f} to {a['high']:+.1f}"
            for kind, a in table["agreement"].items()
        )
        + ".",
        "![Segments against AC](agreement.png)",
        "## Is the ventricle where the search finds it?",
        "Found minus known (the phantom's own ventricle), mm, mean ± SD (largest), and how far it moves AC's segments:",
        _geometry(table),
        "## Perfusion deficit and known defects",
        _limits(table),
        _detection(table),
        "![ROC and perfusion deficits](detection.png)",
        "## By sex and body mass",
        _groups(table),
    ]
    if table["robust"]:
        parts += [
            "## Other counts, resolutions and grids",
            f"First {table['robust']['patients']} patients, segment error against AC of the same condition, % "
            "of maximum. Counts and blur: expected projections scaled or blurred (FWHM added), new "
            "Poisson noise, NC and AC reconstructed anew. Grids: the usual images interpolated; a camera "
            "measuring there would have other noise.",
            _robust(table),
            "![Segment error under other conditions](robustness.png)",
        ]
    return "\n\n".join(parts) + "\n"


def _grid(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))


def _cell(values: Sequence[float] | None, digits: int = 2) -> str:
    if values is None:
        return "–"
    value, low, high = values
    return f"{value:.{digits}f}" if low != low else f"{value:.{digits}f} ({low:.{digits}f} – {high:.{digits}f})"


def _segments(table: Mapping[str, Any]) -> str:
    lines = [
        [
            kind,
            *(_cell(of[n]) for n in ("error", "truth_error")),
            _cell(of["contrast"], 3),
            _cell(of["contrast_over_ac"], 3),
        ]
        for kind, of in table["segments"].items()
    ]
    return _grid(["image", "error to AC, %", "error to truth, %", "defect contrast", "contrast / AC"], lines)


def _verdict(table: Mapping[str, Any]) -> str:
    ours = table["segments"]["corrected"]
    error = ours["error"][0]
    said = [
        f"Goal: a segment error of at most {GOAL_ERROR} % against AC: {_reached(error <= GOAL_ERROR)} ({error:.2f} %)."
    ]
    if ours["contrast_over_ac"]:
        ratio = ours["contrast_over_ac"][0]
        off = 100 * abs(ratio - 1)
        said.append(
            f"Goal: defect contrast within {100 * GOAL_CONTRAST:.0f} % of AC's ({table['defects']} defects): "
            f"{_reached(off <= 100 * GOAL_CONTRAST)} ({off:.1f} % off)."
        )
    said.append(
        f"AC itself is no ground truth: its misregistered CT and inexact scatter estimate alone move segments by "
        f"{AC_FLOOR} % (../cohort.md), and nothing of that can be known from NC."
    )
    return " ".join(said)


def _reached(yes: bool) -> str:
    return "reached" if yes else "not reached"


def _by_segment(table: Mapping[str, Any]) -> str:
    lines = [
        [f"{k + 1} {name}", *(f"{v:{sign}.1f}" for kind in ("NC", "corrected") for v, sign in zip(of[kind], ("+", "")))]
        for k, (name, of) in enumerate(table["by_segment"].items())
    ]
    return _grid(
        ["segment, minus AC", "NC, mean", "NC, mean absolute", "corrected, mean", "corrected, mean absolute"], lines
    )


def _geometry(table: Mapping[str, Any]) -> str:
    names = list(next(iter(table["geometry"].values())))
    lines = [
        [
            f"found on {kind}",
            *(f"{of[n][0]:+.1f} ± {of[n][1]:.1f} ({of[n][2]:.0f})" for n in names),
            f"{table['moved'][kind]:.2f} %",
        ]
        for kind, of in table["geometry"].items()
    ]
    known = table["known_error"]
    return (
        _grid(["", *names, "AC's segments"], lines)
        + f"\n\nBy the known ventricle the errors to AC are NC {_cell(known['NC'])}, "
        f"corrected {_cell(known['corrected'])}."
    )


def _limits(table: Mapping[str, Any]) -> str:
    n = table["normals"]
    return (
        f"Normal limits of NC, AC and corrected separately, from {n['F']} normal women and {n['M']} normal men of the "
        "training cohort, each sex and phase its own. The model has been trained on these patients, so its own "
        "limits may be narrower than those of unseen normals would be. Total perfusion deficit (Slomka 2005): places "
        "more than 2.5 SD below the normal mean, weighed by how much is lost. A phase is called abnormal above "
        f"the 95th percentile of the normals' own deficits. {table['ill']} phases with a defect that "
        f"takes at least a fifth "
        f"of the uptake, {table['well']} phases of normal patients."
    )


def _detection(table: Mapping[str, Any]) -> str:
    lines = []
    for kind, found in table["detection"].items():
        deficit = table["deficit"][kind]
        lines.append(
            [
                kind,
                _cell(found["auc"], 3),
                _cell(found["auc_minus_ac"], 3) if kind != "AC" else "–",
                _cell(found["sensitivity"]),
                _cell(found["specificity"]),
                f"{deficit['threshold']:.1f}",
                *("–" if deficit[n] is None else f"{deficit[n][0]:.1f}" for n in ("normal", "ill")),
                _cell(deficit["error"], 1) if kind != "AC" else "–",
            ]
        )
    header = ["image", "AUC", "AUC − AC's", "sensitivity", "specificity", "threshold, %"]
    return _grid([*header, "deficit of normals, median", "with defect, median", "off AC's deficit"], lines)


def _groups(table: Mapping[str, Any]) -> str:
    lines = [
        [name, str(of["patients"]), _cell(of["NC"]), _cell(of["corrected"])] for name, of in table["groups"].items()
    ]
    return _grid(["group", "patients", "NC, error to AC, %", "corrected"], lines)


def _robust(table: Mapping[str, Any]) -> str:
    lines = [
        [name, _cell(of["NC"]), _cell(of["corrected"]), f"{of['corrected'][0] / of['NC'][0]:.2f}"]
        for name, of in table["robust"]["conditions"].items()
    ]
    return _grid(["condition", "NC", "corrected", "corrected / NC"], lines)
