"""What each measured case launches: blocks, turns of the loops in the machine code, bytes.

The numbers follow the launching code in `csrc/cuda`. Loops are in the order in which they stand in the machine code of
nvcc 13.0 for sm_90, where a loop of unknown length has become one that does four turns at once and one for the rest, or
a version for each way it may be called. Other compilers may make other loops: `sass.longest` then refuses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

import torch

from bench.cases.project import VIEWS, subset
from bench.roofline.device import Bound
from bench.speed.case import Case

# Four elements of two bytes each, which is another dtype than the cases have.
_HALVES_READ, _HALVES_WRITTEN = "LDG.E.64", "STG.E.64"
# The radius of a normal is a square root.
_NOISE = "MUFU.RSQ"


@dataclass(frozen=True)
class Launch:
    """One kernel of one case.

    source: its file, without suffix. kernel: its name. template: its arguments, mangled. turns: of its loops, see
    `sass.longest`. transferred: bytes from and to the device's memory, if nothing but neighbouring reads hits a cache.
    avoided: opcodes of ways that this case does not take.
    """

    source: str
    kernel: str
    template: str
    blocks: int
    threads: int
    turns: tuple[float, ...]
    transferred: float
    avoided: tuple[str, ...] = ()

    @property
    def warps(self) -> int:
        return self.blocks * ceil(self.threads / 32)

    def is_of(self, mangled: str) -> bool:
        return f"{len(self.kernel)}{self.kernel}{self.template}" in mangled


@dataclass(frozen=True)
class Predicted:
    """One launch of a case. counts: opcode -> times a thread issues it. bounds: what holds it back, the worst first."""

    launch: Launch
    counts: Counter[str]
    bounds: list[Bound]


def numbers(case: Case) -> list[int]:
    return [int(found) for found in re.findall(r"\d+", case.size)]


def elements(case: Case) -> int:
    """Of the images of a case, or of its volume."""
    found = numbers(case)
    if case.op in ("project", "backproject"):
        return found[0] ** 3
    if case.op == "vq_nearest":
        return found[0] * found[1] * found[3]
    count = 1
    for side in found[: 3 if "window" in case.op else 4]:
        count *= side
    return count


def _per_quad(case: Case, kernel: str, template: str, each: int, *avoided: str) -> Iterator[Launch]:
    """A thread of 128 has so many neighbouring elements of a slice; the loop over slices turns once."""
    slices, count = numbers(case)[0], elements(case)
    blocks = slices * ceil(count / slices / (128 * each))
    source = {"unwindow_counts": "window_counts"}.get(case.op, case.op)
    yield Launch(source, kernel, template, blocks, 128, (1,), case.moved, avoided)


def _step(case: Case) -> Iterator[Launch]:
    avoided = _HALVES_READ, _HALVES_WRITTEN, *((_NOISE,) if "without noise" in case.size else ())
    yield from _per_quad(case, "step_kernel", "ILb1E", 4, *avoided)


def _norm(case: Case) -> Iterator[Launch]:
    samples, channels, height, width = numbers(case)
    group = channels // 32 * height * width
    if group > 512 * 8 * 4:
        raise ValueError(f"{case.size}: expected groups of one tile")
    layout = "ILb1ELb1E" if "channels_last" in case.size else "ILb0ELb1E"
    steps = "Li2E" if group <= 512 * 2 * 4 else "Li8E"
    # The loop over the channels of a group: fewer than there are threads.
    yield Launch(
        case.op, "whole_kernel", layout + steps, samples * 32, 512, (1,), case.moved, (_HALVES_READ, _HALVES_WRITTEN)
    )


_STRIP, _BAND, _REACH = 128, 32, 10  # windows of a block across and down, and pixels more than windows


def _march_blocks(planes: int, height: int, width: int) -> tuple[int, float]:
    """Blocks, and turns of the loop down a band: four rows each. The first three only fetch: a quarter of a turn."""
    bands = ceil((height - _REACH) / _BAND)
    rows = ceil((height - _REACH) / bands / 4)
    return planes * ceil((width - _REACH) / _STRIP) * bands, rows + 3 / 4


def _metrics(case: Case) -> Iterator[Launch]:
    samples, channels, height, width = numbers(case)
    blocks, turns = _march_blocks(samples * channels, height, width)
    yield Launch(case.op, "metrics_kernel", "ILi5ELb1E", blocks, 160, (turns,), case.moved)
    yield Launch(case.op, "scores_kernel", "", samples, 32, (1, 0), 16 * blocks)


def _loss(case: Case) -> Iterator[Launch]:
    """The gradient is wanted in one image."""
    samples, channels, height, width = numbers(case)
    planes, pixels = samples * channels, elements(case)
    maps = 16 * planes * (height - _REACH) * (width - _REACH)
    blocks, turns = _march_blocks(planes, height, width)
    yield Launch(case.op, "slopes_kernel", "ILb1E", blocks, 160, (turns,), 8 * pixels + maps)
    # Along the 42 rows of a tile, by quads, for each map: 336 turns of 256 threads, of which three warps take two.
    tiles = planes * ceil(height / 32) * ceil(width / 32)
    yield Launch(case.op, "spread_kernel", "", tiles, 256, (11 / 8,) * 4, maps + 12 * pixels)
    yield Launch(case.op, "loss_kernel", "", 1, 160, (ceil(blocks / 160), 0), 16 * blocks)


def _nearest(case: Case) -> Iterator[Launch]:
    images, positions, codes, dim = numbers(case)
    tokens, quads = images * positions, ceil(dim / 4)
    # Loading the tokens, the codes of a thread, the dimension four at a time, writing.
    turns = (ceil(dim / 16), codes / 128, quads, ceil(dim / 16))
    yield Launch(case.op, "nearest_kernel", "ILb0E" if dim % 4 else "ILb1E", ceil(tokens / 8), 128, turns, case.moved)


def _window(case: Case) -> Iterator[Launch]:
    if "pixels" not in case.size:
        yield from _per_quad(case, "window_kernel", "ILb1E", 8, _HALVES_WRITTEN)
        return
    slices, height, width = numbers(case)[:3]
    rows, columns = (round(side / 1.3) for side in (height, width))
    # Weights of three taps, for rows and columns: their sum (four at once, the rest), each (the rest, four at once).
    weights = (0, 3, 3, 0)
    turns = (*weights, *weights, 1, 8, 3, 3)
    blocks = slices * ceil(rows / 32) * ceil(columns / 32)
    yield Launch(case.op, "resample_kernel", "ILb0E", blocks, 128, turns, case.moved)


def _views(case: Case) -> tuple[int, int, bool, int, float, float]:
    """Side, columns of all views, whether they are blurred, the kernel's reach, bytes of tables and of planes."""
    side = numbers(case)[0]
    blurred = "blurred" in case.size
    taps = subset(side, torch.device("cpu")).taps
    reach = taps.shape[-1] - 1 if blurred and taps is not None else 0
    return side, VIEWS * side * side, blurred, reach, 20.0 * VIEWS * side**2, 4.0 * VIEWS * side**3


def _project(case: Case) -> Iterator[Launch]:
    side, rays, blurred, reach, tables, planes = _views(case)
    # Down a ray one by one, without attenuation four at once, with it two at once.
    down = (0, 0, side / 2) if blurred else (0, side / 4, 0)
    blocks, cells = ceil(rays / 128), ceil(rays * side / 128)
    written = planes if blurred else 4 * rays
    yield Launch(case.op, "rays_kernel", "", blocks, 128, down, tables + case.moved - 4 * rays + written)
    if blurred:
        yield Launch(case.op, "across_kernel", "", cells, 128, (reach // 4, reach % 4), 2 * planes)
        yield Launch(case.op, "along_kernel", "", blocks, 128, (side, reach // 4, 0, 0), planes + 4 * rays)


def _backproject(case: Case) -> Iterator[Launch]:
    side, rays, blurred, reach, tables, planes = _views(case)
    blocks, cells = ceil(rays / 128), ceil(rays * side / 128)
    volume = 4 * side**3
    yield Launch(case.op, "along_kernel", "", cells, 128, (reach // 4, reach % 4), 4 * rays + planes)
    # Down a ray with the blur, four taps at once, or without it two depths at once.
    down = (side, reach // 4, 0) if blurred else (0, 0, side / 2)
    yield Launch(case.op, "rays_kernel", "", blocks, 128, down, 2 * planes + tables + (volume if blurred else 0))
    # Views, four depths, four laterals at once.
    yield Launch(case.op, "gather_kernel", "", ceil(side**3 / 128), 128, (VIEWS, 4, 1), planes + tables + volume)


OPS: dict[str, Callable[[Case], Iterator[Launch]]] = {
    "backproject": _backproject,
    "bridge_add_noise": lambda case: _per_quad(case, "noise_kernel", "ILb1ELNS_9ObjectiveE0E", 4, _HALVES_WRITTEN),
    "group_norm_silu": _norm,
    "project": _project,
    "sampler_step": _step,
    "slice_metrics": _metrics,
    "ssim_loss": _loss,
    "unwindow_counts": lambda case: _per_quad(case, "unwindow_kernel", "ILb1E", 8, _HALVES_READ),
    "vq_nearest": _nearest,
    "window_counts": _window,
}
