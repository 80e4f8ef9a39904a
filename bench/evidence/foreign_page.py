"""The results of the benchmark of foreign input as a page."""

from __future__ import annotations

from spectac_fast.cohort.population import FEATURES

_SPREAD = (
    "By spread: the root mean square, in the heart region of three central slices, of the standard deviation of the",
    "model's samples, which `spectac correct --uncertainty` draws anyway. Its logarithm is taken as normal over the",
    "population; the limits, one above and one below, leave as small a share of it outside.",
)


def page(facts: dict[str, str], rows: list[dict[str, object]], share: float) -> str:
    """What is detected by what, and a line for every input and plane."""
    lines = [
        "# Is foreign input noticed?",
        "",
        "Made by `python -m bench foreign --train TRAIN --data VALIDATION`. By input: Mahalanobis distances of",
        f"{len(FEATURES)} numbers read off a series; the limit of a plane is exceeded by {share:.1%} of the",
        "training series.",
        *_SPREAD * ("drawn" in rows[0]),
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
    ]
    if "drawn" in rows[0]:
        lines += [
            "",
            "## In short",
            "",
            "Series flagged, of those that samples were drawn of, all planes together.",
            "",
        ]
        lines += _table(_in_short(rows))
    lines += [
        "",
        "## By plane",
        "",
        "`flagged`, `auc`: by input, of all series; area under the ROC curve against the series as they are (0.5: not",
        "told apart). `median_spread`: in standard deviations of the population, from its mean.",
        "",
        *_table(rows),
        "",
        "Other count levels are stood for by added noise here; the simulated camera at other doses and transaxial",
        "reconstructions have not been scored yet.",
    ]
    return "\n".join(lines) + "\n"


def _in_short(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Series flagged by input, by spread and by either, over the planes of each kind."""
    short = []
    for kind in dict.fromkeys(row["input"] for row in rows):
        own = [row for row in rows if row["input"] == kind]
        total = sum(row["drawn"] for row in own)
        shares = {f"by {name}": sum(row[f"by_{name}"] for row in own) for name in ("input", "spread", "either")}
        short.append({"input": kind, **{name: f"{count} of {total}" for name, count in shares.items()}})
    return short


def _table(rows: list[dict[str, object]]) -> list[str]:
    columns = list(rows[0])
    return [
        "| " + " | ".join(columns) + " |",
        "|" + " --- |" * len(columns),
        *("| " + " | ".join(str(row[name]) for name in columns) + " |" for row in rows),
    ]
