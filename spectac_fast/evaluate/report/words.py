"""What images are called, and in which order they stand everywhere: maps, tables, slices, the summary."""

from __future__ import annotations

NAMES = {
    "NC": "NC",
    "corrected": "Corrected",
    "physics": "By a map",
    "AC": "AC (CT)",
    "difference": "Corrected − NC",
    "SD": "Uncertainty",
    "map SD": "Uncertainty by a map",
}
ORDER = ("NC", "corrected", "difference", "physics", "AC", "SD", "map SD")
