"""What a call of an operator costs beyond the operator itself, on tensors so small that nothing else counts."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import group_norm, silu

from bench.outputs import write
from bench.speed.case import Call
from bench.speed.report import head, row
from bench.speed.timing import surroundings
from spectac_fast import BrownianBridge, ops, sample_bridge, solver_table
from spectac_fast._op import Op

RESULTS = Path(__file__).parents[1] / "results"
MOST_US = 3.0
BLOCK = 20  # calls that are timed together

ABOUT = """\
Made by `python -m bench calls`, on one thread. Microseconds of a call in the quickest of many short blocks,
which take turns, so that other work on the machine, of which there was some, shows as little as it can. `raw`:
what the call cannot do without: the compiled operator itself and, where the call allocates its outputs, that;
or eager torch.
"""


@dataclass(frozen=True)
class Small:
    """call: the public function. raw: what it cannot do without. most: microseconds that it may take beyond `raw`, or
    None where `most_ratio`, of their times, is asked for.
    """

    name: str
    what: str
    call: Call
    raw: Call
    most: float | None = MOST_US
    most_ratio: float = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=3.0, help="of every row (default: 3)")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "calls_cpu.md", help="the page")


def run(args: argparse.Namespace) -> int:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        measured = []
        for small in smalls():
            measured.append((small, *quickest([small.call, small.raw], args.seconds)))
            print(line(*measured[-1]), flush=True)
    finally:
        torch.set_num_threads(threads)
    text = page(measured, surroundings(torch.device("cpu")))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write(args.out, text)
    return 0


def quickest(calls: Sequence[Call], seconds: float, block: int = BLOCK) -> list[float]:
    """Microseconds of each call in its quickest block; the blocks take turns, and what else runs only adds to them."""
    for call in calls:
        call()
    least = [float("inf")] * len(calls)
    end = time.perf_counter() + seconds
    while True:
        for i, call in enumerate(calls):
            start = time.perf_counter()
            for _ in range(block):
                call()
            least[i] = min(least[i], (time.perf_counter() - start) * 1e6 / block)
        if time.perf_counter() > end:
            return least


def raw_of(name: str, call: Call, fresh: Callable[[], object] | None = None) -> Call:
    """The compiled operator with the arguments that it gets of a call; `fresh` allocates what the call has to."""
    op, given = Op._all[name], []
    through = op.default

    def watched(*args: object) -> object:
        given.append(args)
        return through(*args)

    op.default = watched
    try:
        call()
    finally:
        op.default = through
    (args,) = given
    if fresh is None:
        return lambda: through(*args)

    def allocated() -> object:
        fresh()
        return through(*args)

    return allocated


def _call(name: str, what: str, call: Call, fresh: Callable[[], object] | None = None) -> Small:
    return Small(name, what, call, raw_of(name, call, fresh))


def smalls() -> Iterator[Small]:
    """Every operator whose calls are small in a sampler, a training step or a pipeline."""
    x, y, x_t, target = torch.rand(4, 1, 1, 16, 16)
    stack, tokens = torch.rand(1, 16, 16), torch.rand(1, 4, 2, 2)
    row14 = torch.zeros(14)
    yield _call("sampler_step", "outputs given", lambda: ops.sampler_step(x, y, None, row14, x_next=x_t))

    schedule, t, seeds = torch.rand(1000, 2), torch.tensor([5]), torch.tensor([3])
    noise = {"seeds": seeds, "x_t": x_t, "target": target}
    yield _call("bridge_add_noise", "outputs given", lambda: ops.bridge_add_noise(x, y, t, schedule, **noise))
    yield _call(
        "bridge_add_noise",
        "outputs allocated",
        lambda: ops.bridge_add_noise(x, y, t, schedule, seeds=seeds),
        lambda: (torch.empty_like(x), torch.empty_like(x)),
    )

    codebook, index, code = torch.rand(8, 4), torch.empty(1, 2, 2, dtype=torch.int64), torch.empty_like(tokens)
    yield _call("vq_nearest", "outputs given", lambda: ops.vq_nearest(tokens, codebook, index=index, code=code))
    yield _call(
        "vq_nearest",
        "outputs allocated",
        lambda: ops.vq_nearest(tokens, codebook),
        lambda: (torch.empty(1, 2, 2, dtype=torch.int64), torch.empty_like(tokens)),
    )

    yield from _counts(stack)
    yield _call("slice_metrics", "", lambda: ops.slice_metrics(x, y, data_range=1.0))
    yield _call("ssim_loss", "no gradient", lambda: ops.ssim_loss(x, y, data_range=1.0))
    wanted = x.clone().requires_grad_()

    def loss() -> Tensor:
        return ops.ssim_loss(wanted, y, data_range=1.0)

    yield Small(
        "ssim_loss",
        "gradient wanted, beyond the operator in a bare autograd.Function",
        loss,
        lambda: _Bare.apply(wanted, y),
    )
    yield Small("ssim_loss", "gradient wanted, beyond the operator alone", loss, lambda: _loss(x, y), None, 99.0)
    yield from _norms()
    yield from _samplers(y)


def _counts(stack: Tensor) -> Iterator[Small]:
    counts, out = (stack * 900).to(torch.int32).to(torch.uint16), torch.empty_like(stack)
    for what, one in (("[S, H, W]", stack), ("[B, C, H, W]", stack[:, None])):
        stored, written = counts.view(one.shape), out.view(one.shape)
        yield _call(
            "window_counts",
            f"{what}, output given",
            lambda a=stored, b=written: ops.window_counts(a, scale=700.0, out=b),
        )
        yield _call(
            "unwindow_counts",
            f"{what}, outputs allocated",
            lambda a=one: ops.unwindow_counts(a, scale=700.0),
            lambda a=one: (torch.empty(a.shape, dtype=torch.uint16), torch.empty(*a.shape[:-2], 3, dtype=torch.int64)),
        )


def _loss(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return Op._all["ssim_loss"].default(x, y, 1.0, True, False)


class _Bare(torch.autograd.Function):
    """What torch itself takes for a function of Python's that keeps what its gradient needs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        loss, grad_x, _ = _loss(x, y)
        ctx.save_for_backward(x, y, grad_x)
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return upstream * ctx.saved_tensors[2], None


def _norms() -> Iterator[Small]:
    """Against eager torch, too, where a tensor is small."""
    for channels, side in ((64, 4), (512, 8)):
        x, weight, bias = torch.rand(1, channels, side, side), torch.rand(channels), torch.rand(channels)
        size = "x".join(map(str, x.shape))
        out = torch.empty_like(x)

        def norm(activation: str, out: Tensor | None = None, a: tuple = (x, 32, weight, bias)) -> Tensor:
            return ops.group_norm_silu(*a, activation=activation, out=out)

        def eager(a: tuple = (x, 32, weight, bias)) -> Tensor:
            return group_norm(*a)

        yield _call("group_norm_silu", f"{size}, output given", lambda norm=norm, out=out: norm("silu", out))
        yield Small(
            "group_norm_silu",
            f"{size} against eager",
            lambda norm=norm: norm("silu"),
            lambda eager=eager: silu(eager()),
            None,
        )
        yield Small(
            "group_norm_silu",
            f"{size} without activation against eager",
            lambda norm=norm: norm("none"),
            eager,
            None,
        )


def _samplers(y: Tensor) -> Iterator[Small]:
    table = solver_table(BrownianBridge(), 6)
    yield Small("solver_table", "6 steps, again", lambda: solver_table(BrownianBridge(), 6), lambda: None, 20.0)
    yield Small(
        "sample_bridge",
        "6 steps, a network that does nothing",
        lambda: sample_bridge(_same, y, table),
        lambda: None,
        120.0,
    )


def _same(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return x


def line(small: Small, call: float, raw: float) -> str:
    return f"{small.name} {small.what}: {call:.1f} us, raw {raw:.1f}; {verdict(small, call, raw)}"


def verdict(small: Small, call: float, raw: float) -> str:
    if small.most is None:
        return "for comparison" if small.most_ratio > 9 else "reached" if call <= small.most_ratio * raw else "missed"
    return "reached" if call - raw <= small.most else f"missed by {call - raw - small.most:.1f} us"


def page(measured: Sequence[tuple[Small, float, float]], facts: Mapping[str, str]) -> str:
    lines = [
        "# Small calls",
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
        "",
        *wrap(ABOUT, 120),
        "",
        *head("op", "call", "us", "raw, us", "beyond raw, us", "goal", "verdict"),
    ]
    for small, call, raw in measured:
        if small.most is None:
            goal = "-" if small.most_ratio > 9 else "no slower"
        else:
            goal = f"at most {small.most:g} us"
        times = f"{call:.1f}", f"{raw:.1f}", f"{call - raw:.1f}"
        lines.append(row(small.name, small.what, *times, goal, verdict(small, call, raw)))
    return "\n".join(lines) + "\n"
