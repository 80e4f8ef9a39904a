"""What a field that ends within the patient costs a correction: nothing, a warning, or the file is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectac_fast.data.geometry.around import Expected
from spectac_fast.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from spectac_fast.data.geometry.field import Field
    from spectac_fast.models.translator import Translator

# Root mean square over voxels of the heart above 20 % of the maximum, against the whole field: where the worst patient
# has more it is said. The file is refused where patients have more than so much on average in counts, or in what is
# left of that after the one factor that suits each best.
TOLERATED, REFUSED, REFUSED_SHAPE = 0.03, 0.05, 0.03
# Headers round pixel sizes.
_ROUNDED_MM = 1.0
# What fields cost where no surroundings are known: SA alone of 8 validation patients, by the shipped network without
# its own (bench/results/fields).
_UNFILLED = Expected(
    (218.0, 272.0, 326.0, 381.0, 435.0),
    (0.180, 0.093, 0.0301, 0.007, 0.0),
    (0.239, 0.146, 0.064, 0.040, 0.0),
    (0.086, 0.045, 0.018, 0.006, 0.0),
)


def field_warnings(path: Path, field: Field, translator: Translator, *, alone: bool) -> list[str]:
    """A sentence where a patient of those measured lost more than 3 % to a field of that size; InputError where they
    lost more than 5 % on average, or more than 3 % of what one factor a patient does not mend. None for models that
    look at no surroundings.

    alone: corrected without the other two planes.
    """
    trained = getattr(translator, "field_px", (0, 0))
    if not field.ends_within or field.across_mm >= min(trained) * translator.pixel_mm - _ROUNDED_MM:
        return []
    surroundings = getattr(translator, "surroundings", None)
    expected = _UNFILLED if surroundings is None else surroundings.alone if alone else surroundings.together
    if expected is None:
        return []
    mean, worst = expected.at(field.across_mm)
    needed = expected.least(REFUSED, REFUSED_SHAPE)
    if field.across_mm < needed - _ROUNDED_MM:
        raise InputError(
            f"{path}: expected a field of at least {needed:.0f} mm about the heart{_how(alone)}, found "
            f"{field.across_mm:.0f} mm; what it cuts off would change corrected counts by {100 * mean:.1f} %."
        )
    if worst <= TOLERATED:
        return []
    return [
        f"{path}: the field of {field.across_mm:.0f} mm ends within the patient{_how(alone)}; counts of the heart "
        f"differ from those of a whole field by {100 * mean:.1f} % on average and {100 * worst:.1f} % in the worst "
        "patient measured."
    ]


def _how(alone: bool) -> str:
    return ", in a plane that is corrected without the other two" if alone else ""
