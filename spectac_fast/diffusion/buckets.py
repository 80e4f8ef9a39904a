"""The few batch sizes that networks are run at.

A library chooses its kernels by shape, and another kernel rounds otherwise; with few shapes few differences arise. A
lone slice runs as one, in two thirds of the time of two: with the shipped weights on a CPU it then differs by 2.5e-7 of
the largest value from the same slice in any other batch, and those do not differ.
"""

from __future__ import annotations

from collections.abc import Iterator

SIZES = (1, 2, 4, 8, 16, 32, 64)


def padded_size(count: int) -> int:
    """The smallest of `SIZES` that holds `count` slices, 0 ... 64."""
    return next(size for size in SIZES if size >= count)


def runs(count: int, largest: int = SIZES[-1]) -> Iterator[slice]:
    """Cut `count` slices into runs of at most `largest`, one of `SIZES`; none at all are one empty run.

    Where more than a quarter of a batch of 32 and more would be filling, half a batch and a smaller one do the work.
    """
    start = 0
    while True:
        left = count - start
        size = min(largest, padded_size(min(left, largest)))
        if size >= 32 and size - left > size // 4:
            size //= 2
        stop = start + min(size, left)
        yield slice(start, stop)
        if stop == count:
            return
        start = stop
