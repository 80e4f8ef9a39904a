"""The page of `python -m bench trial`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_HEAD = """\
# An in-silico trial: are defects found as with CT?

Made by `python -m bench trial --work DIR --normals COHORT`, after the pattern of ISIT-GEN. The same {patients}
synthetic patients (seeds {first}-{last}, of the test range, never trained on), stress and rest, are imaged under each
protocol. A defect counts that takes a fifth or more of the uptake; patients without any are normal. Two readers:

- **deficit**: total perfusion deficit against normal limits by sex of {women} women and {men} men of random protocols,
  made for each kind of image; the ventricle found on NC.
- **observer**: channelised Hotelling observer, four octave channels, at the place of the defect or where one might be,
  its template from the other patients of the protocol.

Figures: area under the ROC, 95 % bootstrap over patients. Corrected is **non-inferior** to CT-based AC where the lower
end of the difference lies above -{margin:.2f}. Where NC is not below AC either, the trial tells nothing apart: it shows
that the correction loses no defect, not that it finds more.

Not in the training: {unseen}.

Weights SHA-256 {weights}, commit {commit}; {machine}.
"""


def page(table: Mapping[str, Any]) -> str:
    """Everything as Markdown."""
    first, last = table["seeds"]
    parts = [
        _HEAD.format(
            patients=last - first + 1,
            first=first,
            last=last,
            women=table["normals"]["F"],
            men=table["normals"]["M"],
            margin=table["margin"],
            unseen=", ".join(table["unseen"]) or "None of them",
            weights=table["weights_sha256"][:16],
            commit=table["commit"],
            machine=table["machine"],
        )
    ]
    for reader in ("deficit", "observer"):
        lines = ["| protocol | with / without | NC | corrected | AC | NC - AC | corrected - AC | non-inferior |"]
        lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
        for name, of in table["rows"].items():
            own = of[reader]
            if name in table["with"]:
                count = f"{table['with'][name]} / {table['without'][name]}"
            else:
                count = ""
            cells = [_area(own[kind]) for kind in ("NC", "corrected", "AC")]
            cells += [_difference(own[f"{kind} - AC"]) for kind in ("NC", "corrected")]
            lines.append(f"| {name} | {count} | {' | '.join(cells)} | {verdict(own, table['margin'])} |")
        parts.append(f"## By {reader}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def verdict(own: Mapping[str, Sequence[float]], margin: float) -> str:
    """What the interval of corrected - AC says."""
    _, low, high = own["corrected - AC"]
    if low > -margin:
        return "yes"
    return "no" if high < -margin else "open"


def _area(values: Sequence[float]) -> str:
    return f"{values[0]:.3f} ({values[1]:.3f}-{values[2]:.3f})"


def _difference(values: Sequence[float]) -> str:
    return f"{values[0]:+.3f} ({values[1]:+.3f} to {values[2]:+.3f})"
