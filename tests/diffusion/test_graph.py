"""Graphs without a GPU: what is recorded when, what is replayed, what is dropped. Recording itself needs a GPU."""

from __future__ import annotations

import logging

import pytest
import torch

from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.diffusion.bridge_sampler import BridgeSampler
from spectac_fast.diffusion.graph import CudaRecording, Graphs, run_graphed
from spectac_fast.diffusion.sampler import run_table
from spectac_fast.diffusion.solvers import solver_table

PROCESS = BrownianBridge(num_timesteps=1000, max_var=0.05, objective="grad")


class Recorded:
    """Like a recording: runs on inputs of its own."""

    bytes = 100

    def __init__(self, function, inputs):
        self.function, self.inputs, self.replays = function, [tensor.clone() for tensor in inputs], 0
        function(*self.inputs)

    def replay(self, inputs):
        self.replays += 1
        for own, given in zip(self.inputs, inputs):
            own.copy_(given)
        return self.function(*self.inputs).clone()


class Book:
    """Makes recordings and remembers them."""

    def __init__(self):
        self.made = []

    def __call__(self, function, inputs):
        self.made.append(Recorded(function, inputs))
        return self.made[-1]


def denoiser(x, t, context):
    return 0.3 * (x - context) + 1e-3 * t.view(-1, 1, 1, 1)


def call(seed=0, size=8):
    torch.manual_seed(seed)
    y = torch.randn(2, 1, size, size)
    return {"y": y, "context": y + 1, "seeds": torch.tensor([seed, 9])}


def run(graphs, mode, table, given):
    blocks = [(slice(0, 2), 0)]
    plain = run_table(denoiser, given["y"], table, context=given["context"], seeds=given["seeds"], blocks=blocks)
    y, rest = given["y"], {key: given[key] for key in ("context", "seeds")}
    assert torch.equal(run_graphed(graphs, mode, denoiser, y, table, **rest, blocks=blocks), plain)


@pytest.mark.parametrize(("mode", "steps", "made", "replays"), [
    ("auto", 6, 1, 3),
    ("trajectory", 6, 1, 3),
    ("auto", 50, 1, 199),
    ("step", 6, 1, 23),
    ("trajectory", 50, 0, 0),
    ("off", 6, 0, 0),
])  # fmt: skip
def test_the_same_result_in_every_mode(mode, steps, made, replays):
    book = Book()
    graphs = Graphs(record=book)
    for seed in range(4):
        # A new table of the same content each time, as a translator makes it.
        run(graphs, mode, solver_table(PROCESS, steps, eta=1.0), call(seed))
    assert len(book.made) == made
    assert sum(one.replays for one in book.made) == replays


def test_every_table_and_shape_is_recorded_apart_within_the_budget():
    book = Book()
    graphs = Graphs(budget=250, record=book)
    for steps, size in ((3, 8), (4, 8), (3, 16)):
        for seed in range(2):
            run(graphs, "auto", solver_table(PROCESS, steps), call(seed, size))
    assert len(book.made) == 3
    assert graphs.bytes == 200
    # The first was dropped: it was used longest ago. It is recorded anew.
    run(graphs, "auto", solver_table(PROCESS, 3), call(7))
    run(graphs, "auto", solver_table(PROCESS, 3, eta=1.0), call(7))
    assert len(book.made) == 4


def test_what_cannot_be_recorded_runs_without(caplog):
    tried = []

    def refuse(function, inputs):
        tried.append(function)
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    graphs = Graphs(record=refuse)
    with caplog.at_level(logging.WARNING):
        for seed in range(4):
            run(graphs, "auto", solver_table(PROCESS, 3), call(seed))
    assert len(tried) == 1
    assert [r.getMessage() for r in caplog.records] == [
        "not recorded as a CUDA graph, runs without: operation not permitted when stream is capturing"
    ]


def test_one_above_the_budget_is_not_kept():
    graphs = Graphs(budget=50, record=Book())
    for seed in range(3):
        run(graphs, "auto", solver_table(PROCESS, 3), call(seed))
    assert graphs.bytes == 0


def test_unknown_mode():
    with pytest.raises(ValueError, match="graph must be one of auto, trajectory, step, off, found 'fast'"):
        BridgeSampler(denoiser, PROCESS, graph="fast")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mode", ["trajectory", "step"])
def test_on_a_gpu(mode):
    graphs, table = Graphs(record=CudaRecording), solver_table(PROCESS, 6, eta=1.0)
    for seed in range(3):
        run(graphs, mode, table, {key: value.cuda() for key, value in call(seed).items()})
    assert graphs.bytes > 0
