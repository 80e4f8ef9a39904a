"""What the statement says in sentences, for the page and for the text alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TITLE = "Corrected without CT, against a department’s AC"
# So many of a kind stand on the page; all are in the text and in table.json.
MOST_LINES, MOST_GRIDS = 4, 3
CONVENTIONS = {
    "Pairs": "NC and AC series of one study, phase, plane and acquisition, by their headers; what is NC and what is AC "
    "is judged by header, words and image, as `spectac report` has it",
    "Correction": "as `spectac correct`: one count scale a phase from NC alone, every plane on its own pixels",
    "Heart region": "root mean square difference to AC within 60 mm of the stack’s middle, after one factor for all "
    "counts of a phase, % of AC; planes together, phases of a patient averaged",
    "17 segments": "mean absolute difference to AC (AHA), % of each image’s own maximum (99th percentile of its polar "
    "map), by the ventricle found on NC",
    "Worse": "farther from AC in the heart region than NC is",
    "Intervals": "95 %, percentile bootstrap over patients",
}


def number(found: Mapping[str, float | None] | None, digits: int = 1, sign: str = "") -> str:
    """``12.3 (10.1 to 14.8)``; the value alone without interval, a dash for nothing."""
    if found is None or found["value"] is None:
        return "–"

    def shown(value: float) -> str:
        text = f"{value:{sign}.{digits}f}"
        return (text if float(text) else f"{0:.{digits}f}").replace("-", "−")

    value, low, high = found["value"], found["low"], found["high"]
    return shown(value) if low is None or high is None else f"{shown(value)} ({shown(low)} to {shown(high)})"


def patients(many: int) -> str:
    """``3 patients``."""
    return "1 patient" if many == 1 else f"{many} patients"


def measured(said: Mapping[str, Any]) -> dict[str, str]:
    """On whom and what, by head."""
    phases = ", ".join(f"{count} {phase}" for phase, count in said["phases"].items())
    sizes = [
        f"{rows} × {columns} of {pixel:g} mm, {depth:g} mm apart" + (f" ({many})" if len(said["grids"]) > 1 else "")
        for rows, columns, (depth, pixel, _), many in said["grids"][:MOST_GRIDS]
    ]
    more = len(said["grids"]) - MOST_GRIDS
    sizes += [f"{more} other size{'s' * (more > 1)}"] if more > 0 else []
    model, gain = said["model"], said["gain"]
    weights = f", weights {model['weights_sha256'][:12]}" if model["weights_sha256"] else ""
    found = {
        "Patients": f"{said['patients']} ({phases}), {said['pairs']} pairs of series",
        "Slices": "; ".join(sizes),
        "Model": f"{model['row']}{weights}, spectac_fast {said['version']}",
        "Gain AC/NC": f"{gain['median']:.2f} ({gain['low']:.2f} to {gain['high']:.2f}) of these phases; the model’s is "
        f"{model['gain']:.2f}",
    }
    if said["refused"]:
        found["Left out"] = f"{patients(len(said['refused']))}, whom the models do not take; see the warnings"
    if said["seen_in_training"]:
        found["Not unseen"] = f"the model was trained on {said['seen_in_training']} of these patients"
    return found


def results(said: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """(what, NC, corrected, corrected / NC) of every line."""
    away, segments = said["away"], said["segments"]
    lines = [
        ("heart region, %", number(away["NC"]), number(away["corrected"]), number(away["ratio"], 2)),
    ]
    if segments:
        lines.append(
            (
                "17 segments, % of max.",
                number(segments["NC"]), number(segments["corrected"]), number(segments["ratio"], 2),
            )
        )  # fmt: skip
    lines.append(("patients worse than NC", "", f"{away['worse']} of {said['patients']}", ""))
    return lines


def warned(said: Mapping[str, Any]) -> list[str]:
    """One sentence a kind of warning, and those on the folder."""
    of = said["patients"]
    kinds = [
        f"{each['patients']} of {patients(of)}, such as patient {each['first']}: {each['example']}"
        for each in said["warnings"]
    ]
    return [*said["notes"], *(f"left out, {text}" for text in said["refused"]), *kinds]


def left_out(said: Mapping[str, Any]) -> list[str]:
    """How many series and files are in no pair, a line for each reason."""
    return [f"{many}: {why}" for why, many in said["left"].items()]
