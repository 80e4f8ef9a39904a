"""What the item of a detector says about where it is and which way its views lie."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

Vector = NDArray[np.float64]
# Cosine between two directions that are meant to be the same.
ALONG = 0.95


def number(value: object) -> float:
    """A number of a header, NaN for what is none."""
    try:
        return float(str(value))
    except ValueError:
        return math.nan


def floats(value: object, count: int) -> Vector | None:
    """So many finite numbers of a header, None for anything else."""
    values: Iterable[object] = [] if value is None or value == "" else np.atleast_1d(np.asarray(value, object))
    numbers = [number(each) for each in values]
    return np.array(numbers) if len(numbers) == count and np.isfinite(numbers).all() else None


def directions(item: Dataset) -> tuple[Vector, Vector] | None:
    """Directions of rows and columns (LPS), None where an item tells none."""
    found = floats(item.get("ImageOrientationPatient"), 6)
    if found is None or min(np.linalg.norm(found[:3]), np.linalg.norm(found[3:])) < 0.5:
        return None
    return found[:3] / np.linalg.norm(found[:3]), found[3:] / np.linalg.norm(found[3:])


def faced(item: Dataset) -> float:
    """The Start Angle by which views would lie as an item says if their columns run as they should, degrees.

    NaN where it tells no orientation, and for that of a view from straight ahead, which some write for every view.
    """
    found = directions(item)
    if found is None or abs(found[0][0]) > 1 - 1e-6 or abs(found[1][2]) < ALONG:
        return math.nan
    return 180.0 - math.degrees(math.atan2(found[0][1], found[0][0]))


def apart(one: float, other: float, circle: float = 360.0) -> float:
    """Degrees between two directions, those that are a circle apart being the same; NaN for what is none."""
    return abs((one - other + circle / 2) % circle - circle / 2)
