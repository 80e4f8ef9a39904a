"""What `--protocol random` draws: the distribution of every parameter of protocol and patient, with its source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.outputs import MADE_BY, appearing
from spectac_fast.phantom.people import Patient
from spectac_fast.phantom.protocol import RANDOM, Protocol
from spectac_fast.phantom.protocols import planned

# No split holds these seeds, so that looking at draws is looking at nobody.
FIRST_SEED = 800_000
GUIDE = "about ASNC 2018, EANM 2015; wide"
WIDE = "chosen wide"
Study = tuple[Patient, Protocol]


def _updates(how: Any) -> float:
    return float(how.iterations * how.subsets) if how.method == "OSEM" else np.nan


def _when(condition: Callable[[Any], bool], value: Callable[[Any], float]) -> Callable[[Study], float]:
    """Of NC's filter, where it is of a kind."""
    return lambda study: value(study[1].nc.filter) if condition(study[1].nc.filter) else np.nan


# (what, unit, value of a study (NaN: does not apply), source)
NUMBERS: tuple[tuple[str, str, Callable[[Study], float], str], ...] = (
    ("pixel", "mm", lambda s: s[1].camera.pixel_mm, GUIDE),
    ("counts over the first cohort's", "", lambda s: s[1].counts, WIDE),
    ("scatter over that of a 20 % window", "", lambda s: s[1].camera.scatter_share, WIDE),
    ("detector from the body", "mm", lambda s: s[1].camera.clearance_mm or np.nan, WIDE),
    ("updates of NC by OSEM", "", lambda s: _updates(s[1].nc), "2 x 10 to 12 x 8"),
    ("updates of AC", "", lambda s: _updates(s[1].ac), "2 x 10 to 12 x 8"),
    ("Butterworth cut-off", "1/cm", _when(lambda f: f.kind == "butterworth", lambda f: f.cutoff), WIDE),
    ("Hann cut-off", "1/cm", _when(lambda f: f.kind == "hann", lambda f: f.cutoff), WIDE),
    ("Gaussian FWHM", "mm", _when(lambda f: f.kind == "gaussian", lambda f: f.fwhm_mm), WIDE),
    ("half of the kept field", "mm", lambda s: s[1].field.half_mm or np.nan, WIDE),
    ("BMI, men", "kg/m2", lambda s: s[0].bmi if s[0].sex == "M" else np.nan, "28 ± 6 Western, 24 ± 3.5 Asian"),
    ("BMI, women", "kg/m2", lambda s: s[0].bmi if s[0].sex == "F" else np.nan, "28 ± 6 Western, 24 ± 3.5 Asian"),
    ("height", "cm", lambda s: s[0].height_cm, WIDE),
    ("end-diastolic volume", "ml", lambda s: s[0].edv, "PMC7758747, wider"),
    ("ejection fraction", "", lambda s: s[0].ejection_fraction, "PMC7758747, wider"),
    ("wall", "mm", lambda s: s[0].wall, "PMC7758747, wider"),
    ("left dome over the heart's centre", "mm", lambda s: s[0].left_dome, WIDE),
    ("respiratory excursion", "mm", lambda s: s[0].respiration_sd / 0.354, "PMC7714447"),
    ("liver over heart, stress", "", lambda s: s[0].uptake["stress"].liver, WIDE),
    ("bowel over heart, rest", "", lambda s: s[0].uptake["rest"].gut, WIDE),
    ("lung over heart, stress", "", lambda s: s[0].uptake["stress"].lung, WIDE),
)
CHOICES: tuple[tuple[str, Callable[[Study], str], str], ...] = (
    ("protocol", lambda s: s[1].name, "the first cohort's kept in"),
    ("collimator", lambda s: s[1].camera.collimator, "LEHR advised (ASNC 2018); others enriched"),
    ("arc, degrees", lambda s: f"{s[1].camera.arc:g}", "180 advised (ASNC 2018); 360 enriched"),
    ("views", lambda s: str(s[1].camera.views), GUIDE),
    ("matrix", lambda s: str(s[1].camera.matrix), GUIDE),
    ("orbit", lambda s: "contour" if s[1].camera.contour else "circle", WIDE),
    ("NC by", lambda s: s[1].nc.method, "FBP or OSEM (ASNC 2018)"),
    ("resolution recovery, NC", lambda s: "yes" if s[1].nc.resolution_recovery else "no", WIDE),
    ("scatter correction, NC", lambda s: s[1].nc.scatter, WIDE),
    ("scatter correction, AC", lambda s: s[1].ac.scatter, WIDE),
    ("filter, NC", lambda s: s[1].nc.filter.kind, WIDE),
    ("field", lambda s: s[1].field.outside, WIDE),
    ("position", lambda s: s[1].position, "enriched"),
    ("sex", lambda s: s[0].sex, "57 % men (REFINE SPECT, 2020)"),
    ("defects", lambda s: str(len(s[0].defects)), "as the first cohort"),
)


def drawn(count: int, first: int = FIRST_SEED) -> list[Study]:
    """Patients and protocols of consecutive seeds."""
    return [planned(RANDOM, seed) for seed in range(first, first + count)]


def measured(studies: Sequence[Study]) -> dict[str, Any]:
    """Quantiles of what is a number, shares of what is a choice and of every finding."""
    numbers = []
    for name, unit, value, source in NUMBERS:
        found = np.array([value(study) for study in studies])
        found = found[np.isfinite(found)]
        quantiles = np.percentile(found, (0, 5, 50, 95, 100)).round(3).tolist()
        mean, sd = round(float(found.mean()), 3), round(float(found.std()), 3)
        numbers.append(
            {"name": name, "unit": unit, "studies": len(found), "mean": mean, "sd": sd, "quantiles": quantiles}
            | {"source": source}
        )
    choices = []
    for name, of, source in CHOICES:
        values, counts = np.unique([of(study) for study in studies], return_counts=True)
        shares = {str(v): round(n / len(studies), 3) for v, n in zip(values, counts.tolist(), strict=True)}
        choices.append({"name": name, "shares": shares, "source": source})
    findings = [name for patient, _ in studies for name in patient.findings.names]
    values, counts = np.unique(findings, return_counts=True)
    return {
        "seeds": [studies[0][0].seed, studies[-1][0].seed],
        "numbers": numbers,
        "choices": choices,
        "findings": {str(v): round(n / len(studies), 3) for v, n in zip(values, counts.tolist(), strict=True)},
    }


def page(found: dict[str, Any]) -> str:
    """Markdown of `measured`."""
    first, last = found["seeds"]
    lines = [
        "# What `spectac phantom --protocol random` draws",
        "",
        f"Seeds {first}–{last}. Shares of rare things are enriched over a department's; reasons and sources stand",
        "beside the distributions in `spectac_fast/phantom/drawn.py`, `worldwide.py` and `conditions.py`.",
        "",
        "| parameter | mean ± SD | least / 5 / 50 / 95 % / most | source |",
        "|---|---:|---:|---|",
    ]
    for row in found["numbers"]:
        name = f"{row['name']}, {row['unit']}" if row["unit"] else row["name"]
        cells = " / ".join(f"{q:.3g}" for q in row["quantiles"])
        lines.append(f"| {name} | {row['mean']:.3g} ± {row['sd']:.2g} | {cells} | {row['source']} |")
    lines += ["", "| choice | shares, % | source |", "|---|---|---|"]
    for row in found["choices"]:
        shares = ", ".join(f"{name} {100 * share:.0f}" for name, share in row["shares"].items())
        lines.append(f"| {row['name']} | {shares} | {row['source']} |")
    lines += ["", "| finding | share, % |", "|---|---:|"]
    lines += [f"| {name} | {100 * share:.1f} |" for name, share in found["findings"].items()]
    return "\n".join([*lines, ""])


def plot(path: Path, studies: Sequence[Study]) -> None:
    """A histogram of every number, and the shares of findings."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 6
    rows = -(-(len(NUMBERS) + 1) // columns)
    figure = Figure(figsize=(3.0 * columns, 2.3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns).ravel()
    for axis, (name, unit, value, _) in zip(axes, NUMBERS):
        found = np.array([value(study) for study in studies])
        axis.hist(found[np.isfinite(found)], bins=40, color="#2a78c8")
        axis.set_title(f"{name}, {unit}" if unit else name, fontsize=9)
        axis.set_yticks([])
        axis.tick_params(labelsize=8)
    names, counts = np.unique([n for p, _ in studies for n in p.findings.names], return_counts=True)
    axis = axes[len(NUMBERS)]
    axis.barh(names, 100 * counts / len(studies), color="#f3b39b")
    axis.set_title("findings, % of patients", fontsize=9)
    axis.set_yticks([])
    axis.tick_params(labelsize=8)
    for y, name in enumerate(names):
        axis.text(0.2, y, name, va="center", fontsize=6)
    for axis in axes[len(NUMBERS) + 1 :]:
        axis.set_axis_off()
    with appearing(path) as part:
        figure.savefig(part, dpi=90, format="png", metadata=MADE_BY)
