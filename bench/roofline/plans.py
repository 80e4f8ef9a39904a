"""Where the instructions of the heaviest kernels go, and what form would need fewer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from textwrap import wrap

from bench.roofline.device import kind_of
from bench.roofline.work import Predicted, elements
from bench.speed.case import Case
from bench.speed.report import head, row

_SHOWN = (
    "float",
    "integer and logic",
    "memory",
    "multiply-add of integers",
    "conversion",
    "double",
    "special function",
    "",
)

# Of a symmetric window of 11 taps, five pairs and a middle: sums and products of each pair and of the middle.
_SPREAD = 4 * 2 * (5 * 2 + 1)
# Windows across and down of a strip of 128 and a band of 64 pixels, beyond what they would be without a border.
_HALO = (128 + 10) / 128 * (64 + 10) / 64
# `mix` of csrc/math/moments.h: a pair of pixels, a pair of moments, and the last lines; then `ssim`.
_MIXED = 5 * 16 + 6 + 5 * 18 + 8 + 20


def plans(results: Sequence[tuple[Case, list[Predicted]]]) -> Iterator[str]:
    """Of those of the two operators that are among the results, at their largest size."""
    last = {case.op: (case, launches) for case, launches in results if case.op in ("slice_metrics", "ssim_loss")}
    if not last:
        return
    yield from (
        "## Next forms",
        "",
        "Instructions per pixel, by their kind; the last: jumps, barriers, addresses of whole warps.",
        "",
    )
    yield from head("op", "kernel", "all", *(kind or "other" for kind in _SHOWN))
    for case, launches in last.values():
        yield from _kinds(case, launches)
    yield ""
    if "slice_metrics" in last:
        yield from wrap(_metrics(*last["slice_metrics"]), 120, subsequent_indent="  ")
    if "ssim_loss" in last:
        yield from wrap(_loss(*last["ssim_loss"]), 120, subsequent_indent="  ")


def _per_pixel(case: Case, one: Predicted) -> Counter[str]:
    found: Counter[str] = Counter()
    for opcode, count in one.counts.items():
        found[kind_of(opcode) or ""] += 32 * one.launch.warps * count / elements(case)  # type: ignore[assignment]
    return found


def _kinds(case: Case, launches: Sequence[Predicted]) -> Iterator[str]:
    for one in launches:
        found = _per_pixel(case, one)
        if found.total() >= 1:
            yield row(case.op, one.launch.kernel, f"{found.total():.0f}", *(f"{found[kind]:.0f}" for kind in _SHOWN))


def _metrics(case: Case, launches: Sequence[Predicted]) -> str:
    found = _per_pixel(case, launches[0])
    return (
        f"* slice_metrics: the formulas themselves are {_MIXED} operations a window, of {found.total():.0f} "
        "instructions. Planned: bands of 64 rows instead of 32, of which 19 turns serve 16 and not 11 serve 8; a "
        "pair of pixels is subtracted and multiplied once for both windows of which it is the middle and the "
        "edge (16 operations of a pair down the column become about 11); squares are summed over four pixels in "
        f"pairs of float32 before they become float64 ({found['double'] + found['conversion']:.0f} instructions "
        "become 3). Together about a quarter less; the bound stays the schedulers."
    )


def _loss(case: Case, launches: Sequence[Predicted]) -> str:
    slopes, spread = (_per_pixel(case, one).total() for one in launches[:2])
    transferred = sum(one.launch.transferred for one in launches) / elements(case)
    planned = slopes * _HALO + 1.5 * _SPREAD
    return (
        f"* ssim_loss: {transferred:.0f} B a pixel with one gradient where {case.moved / elements(case):.0f} are "
        "needed (with both, 4 more each), because four maps of slopes go to memory and come back. Planned: one "
        "launch. A block marches down its strip as now, mixes the four slopes of four rows along the rows "
        "through shared memory, keeps the last ten mixed rows of its columns (4 x 14 registers), and writes "
        "gradients ten rows behind; the maps never leave the multiprocessor. Strips of 128 pixels then need 138 "
        f"windows across and bands of 64 rows 74 down: {_HALO:.2f} times the {slopes:.0f} instructions of the "
        f"slopes, and {_SPREAD} operations (half as many again with their loads) in place of {spread:.0f}: about "
        f"{planned:.0f} instead of {slopes + spread:.0f}. The bytes fall by "
        f"{100 * (1 - case.moved / elements(case) / transferred):.0f} %, the time, which instructions bound, by "
        f"{100 * (1 - planned / (slopes + spread)):.0f} %: it pays after slice_metrics has become cheaper, whose "
        "march both share."
    )
