"""Readers of foreign files raise many things; a person is told one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from spectac_fast.errors import InputError, SpectacError


@contextmanager
def damaged(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a damaged file makes a reader raise into an InputError that names it and the kind expected."""
    try:
        yield
    except SpectacError:
        raise
    except Exception as error:
        raise InputError(
            f"{path}: expected a {kind} file, found damage or something else ({type(error).__name__})."
        ) from None


def check_shape(path: Path, shape: tuple[int, ...], dtype: np.dtype, there: int) -> None:
    """Raise InputError unless `there` bytes hold a stack of that shape and type of real numbers."""
    if len(shape) != 3 or min(shape) < 1 or dtype.kind not in "uif":
        found = f"{dtype} of {' x '.join(map(str, shape)) or 'no size'}"
        raise InputError(f"{path}: expected one stack of real numbers (three axes), found {found}.")
    needed = math.prod(shape) * dtype.itemsize
    if needed > there:
        raise InputError(f"{path}: truncated, expected {needed} bytes of counts, found {there}.")
