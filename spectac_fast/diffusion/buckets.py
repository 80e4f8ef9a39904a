"""The few batch sizes that networks are run at.

A library chooses its kernels by shape, and another kernel rounds otherwise; with few shapes few differences arise. The
smallest is 2 because a batch of one is where those kernels differ most.
"""

from __future__ import annotations

from collections.abc import Iterator

SIZES = (2, 4, 8, 16, 32, 64)


def padded_size(count: int) -> int:
    """The smallest of `SIZES` that holds `count` slices, 0 ... 64."""
    return next(size for size in SIZES if size >= count)


def runs(count: int, largest: int = SIZES[-1]) -> Iterator[slice]:
    """Cut `count` slices into runs of at most `largest`; none at all are one empty run."""
    for start in range(0, max(count, 1), largest):
        yield slice(start, min(start + largest, count))
