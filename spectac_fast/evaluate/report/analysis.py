"""What a report says of one phase: the ventricle, the polar maps of every kind of image, and what to be wary of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.scale import count_scale, percentile
from spectac_fast.errors import UsageError
from spectac_fast.evaluate.regional.deficit import Deficit, deficit, normal_maps
from spectac_fast.evaluate.regional.segments import SEGMENT_NAMES, means, percent_of_maximum, polar_map
from spectac_fast.evaluate.regional.ventricle import Ventricle, find, interpolate
from spectac_fast.evaluate.report.gather import ReportStudy, Stack
from spectac_fast.evaluate.report.words import NAMES

# Changes of this many points and more, as they are shown, stand out.
MARKED = 5
# Of the kinds of image that are perfusion; a standard deviation is none.
PERFUSION = ("NC", "corrected", "physics", "AC")
_RADIUS_USUAL_MM, _LARGEST_TILT_DEG, _LARGEST_SHIFT_MM = (18.0, 42.0), 12.0, 45.0
_HOT_SHARE = 0.9
_FEW_COUNTS = 40.0


@dataclass
class Phase:
    """One phase.

    frame: UID of the images' frame of reference, "" where none tells it or they have several.
    ventricle: found once, for all its images (None without a short-axis stack); set_by_hand: which of its fields were.
    found_on: the kind of image it was found on. peaks: counts that are 100 %, by kind. polar: % of maximum, [24, 72],
    by kind. segments: [17] by kind. deficits: against normal limits, by kind; normals: whose limits, in words, or why
    there are none.
    """

    name: str
    stacks: dict[str, dict[str, Stack]]
    frame: str = ""
    ventricle: Ventricle | None = None
    found_on: str = ""
    set_by_hand: tuple[str, ...] = ()
    peaks: dict[str, float] = field(default_factory=dict)
    polar: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    segments: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    deficits: dict[str, Deficit] = field(default_factory=dict)
    normals: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def change(self) -> NDArray[np.float64] | None:
        """Corrected minus NC, percentage points of the maximum, [17]."""
        if "NC" in self.segments and "corrected" in self.segments:
            return self.segments["corrected"] - self.segments["NC"]
        return None


def analyse(study: ReportStudy, geometry: Mapping[str, Mapping[str, Any]] | None = None) -> list[Phase]:
    """Every phase of a study. geometry: {phase: fields of `Ventricle` set by hand}.

    The ventricle is sought on NC, before any model has touched the counts: of the three it comes closest to the known
    one (bench/results/clinical). Raises UsageError for a geometry that has other fields.
    """
    phases = [examined(name, stacks, (geometry or {}).get(name, {})) for name, stacks in study.stacks.items()]
    sex = str(getattr(study.header, "PatientSex", None) or "")
    for phase in phases:
        _judge(phase, sex)
    return phases


def _judge(phase: Phase, sex: str) -> None:
    """Compare the phase's maps with the normals of a sex."""
    for kind, polar in phase.polar.items():
        normal = normal_maps(kind, sex)
        if normal is None:
            said = sex if sex in ("F", "M", "O") else "not stated"
            phase.normals = f"Patient’s Sex is {said}: there are normal limits of women (F) and of men (M) alone."
            return
        phase.deficits[kind] = deficit(polar, normal)
        phase.normals = normal.group


def examined(name: str, stacks: dict[str, dict[str, Stack]], by_hand: Mapping[str, Any]) -> Phase:
    """One phase with its ventricle, maps, segments and doubts. stacks: {kind: {plane: stack}}; by_hand: fields of its
    `Ventricle`.
    """
    frames = {stack.frame for planes in stacks.values() for stack in planes.values()} - {""}
    phase = Phase(name, stacks, frames.pop() if len(frames) == 1 else "")
    kind = next((k for k in PERFUSION if "SA" in stacks.get(k, {})), None)
    if kind is None:
        phase.warnings.append(f"{name}: no short-axis series, so there is no polar map.")
        for kind in PERFUSION:
            for stack in list(stacks.get(kind, {}).values())[:1]:
                phase.peaks[kind] = count_scale(stack.counts, stack.spacing_mm)
        return phase
    stack = stacks[kind]["SA"]
    phase.found_on = kind
    phase.ventricle = _set(find(stack.counts, stack.spacing_mm), name, by_hand)
    phase.set_by_hand = tuple(by_hand)
    for kind in PERFUSION:
        if "SA" in stacks.get(kind, {}):
            sa = stacks[kind]["SA"]
            polar = polar_map(sa.counts, phase.ventricle, sa.spacing_mm)
            phase.peaks[kind] = percentile(polar, 99)
            phase.polar[kind] = percent_of_maximum(polar)
            phase.segments[kind] = means(phase.polar[kind])
    phase.warnings += _doubts(phase, phase.ventricle, stack)
    return phase


def _set(found: Ventricle, phase: str, by_hand: Mapping[str, Any]) -> Ventricle:
    known = {f.name for f in fields(Ventricle)}
    wrong = sorted(set(by_hand) - known)
    if wrong:
        raise UsageError(f"geometry of {phase}: expected {', '.join(sorted(known))}, found {', '.join(wrong)}.")
    values: dict[str, Any] = {}
    for name, value in by_hand.items():
        numbers = value if isinstance(value, (list, tuple)) else [value]
        wanted = 3 if name == "centre_mm" else 2 if name == "tilt_deg" else 1
        sound = len(numbers) == wanted and all(isinstance(v, (int, float)) and math.isfinite(v) for v in numbers)
        if not sound or (name in ("radius_mm", "length_mm", "wall_mm") and numbers[0] <= 0):
            raise UsageError(f"geometry of {phase}: expected {wanted} usable numbers for {name}, found {value!r}.")
        values[name] = tuple(map(float, numbers)) if wanted > 1 else float(numbers[0])
    return replace(found, **values)


def _doubts(phase: Phase, found: Ventricle, stack: Stack) -> list[str]:
    """Sentences on what makes a polar map less sure."""
    name, doubts = phase.name, []
    low, high = _RADIUS_USUAL_MM
    if not low <= found.radius_mm <= high:
        doubts.append(f"{name}: the ventricle's radius of {found.radius_mm:.0f} mm is unusual; check its outline.")
    if max(map(abs, found.tilt_deg)) > _LARGEST_TILT_DEG:
        doubts.append(f"{name}: the ventricle is tilted in its short-axis stack; was the stack cut along the heart?")
    if np.linalg.norm(found.centre_mm) > _LARGEST_SHIFT_MM:
        doubts.append(f"{name}: the ventricle lies far from the middle of its stack; check its outline.")
    first, last = (n / 2 * stack.spacing_mm[0] for n in (-len(stack.counts), len(stack.counts)))
    if found.base_limit_mm < first or found.apex_mm > last:
        doubts.append(f"{name}: apex or base lie outside the stack.")
    # Beside the inferior wall, clear of it by the camera's resolution.
    inferior = np.radians(np.arange(225, 316, 15))
    beside = found.rays(found.levels(8)[:6], inferior, np.arange(14.0, 31.0, 4.0))
    hottest = percentile(interpolate(stack.counts, stack.spacing_mm, beside), 95)
    if hottest > _HOT_SHARE * phase.peaks[phase.found_on]:
        doubts.append(
            f"{name}: activity beside the inferior wall is as bright as the heart ({phase.found_on}); "
            "inferior segments may be too high."
        )
    if phase.peaks[phase.found_on] < _FEW_COUNTS:
        doubts.append(f"{name}: few counts ({phase.peaks[phase.found_on]:.0f} a voxel at the maximum): noise shows.")
    return doubts


def summary(phase: Phase) -> list[str]:
    """What the segments say, in short sentences."""
    lines = []
    for kind in PERFUSION:
        if kind in phase.segments:
            values = phase.segments[kind]
            low = int(values.argmin())
            lines.append(f"{_of(kind)}: lowest segment {SEGMENT_NAMES[low]}, {values[low]:.0f} % of maximum.")
    if phase.change is not None:
        k = int(np.abs(phase.change).argmax())
        lines.append(f"Largest change by the correction: {SEGMENT_NAMES[k]}, {signed(phase.change[k])} points.")
    return lines


def reversibility(phases: Sequence[Phase]) -> dict[str, NDArray[np.float64]]:
    """Stress minus rest by kind of image, percentage points, [24, 72]: below zero where stress alone has less.

    Each map is in percent of its own maximum. Empty unless both phases are at hand.
    """
    at_hand = {phase.name: phase.polar for phase in phases}
    if not {"stress", "rest"} <= at_hand.keys():
        return {}
    stress, rest = at_hand["stress"], at_hand["rest"]
    return {kind: stress[kind] - rest[kind] for kind in PERFUSION if kind in stress and kind in rest}


def segment(index: int) -> str:
    """``4 basal inferior`` of index 3."""
    return f"{index + 1} {SEGMENT_NAMES[index]}"


def signed(value: float) -> str:
    """A change with its sign, rounded; no change has none."""
    text = f"{value:+.0f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def emphasised(value: float) -> int:
    """Whether a change stands out, as it is shown, that is rounded: 1 upwards, -1 downwards, else 0."""
    shown = float(f"{value:.0f}")
    return 0 if abs(shown) < MARKED else int(math.copysign(1, shown))


def _of(kind: str) -> str:
    return NAMES[kind]


def warnings_of(study: ReportStudy, phases: Sequence[Phase]) -> list[str]:
    """All sentences, each once."""
    return list(dict.fromkeys([*study.warnings, *(text for phase in phases for text in phase.warnings)]))
