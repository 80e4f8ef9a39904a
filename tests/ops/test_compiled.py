"""Every operator and the sampler under torch.compile and torch.export, whole: no graph break, no value baked in."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from spectac_fast import BrownianBridge, ops, sample_bridge, solver_table
from spectac_fast._op import Op

NAMES = sorted(op.name for op in Op.all())
# Arguments of which a second value must not be answered with the first one's result.
NUMBERS = {"data_range": 2.5, "scale": 310.0, "eps": 1e-3}


@pytest.fixture(autouse=True)
def afresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def copied(call):
    """The same call on tensors of its own; what has gaps stays, because a copy would have none."""
    whole = {k for k, v in call.items() if isinstance(v, torch.Tensor) and v.is_contiguous()}
    return {k: v.detach().clone().requires_grad_(v.requires_grad) if k in whole else v for k, v in call.items()}


def assert_same(compiled, function, call):
    """What is returned, and what is written into the arguments."""
    found, expected = copied(call), copied(call)
    result, wanted = compiled(**found), function(**expected)
    for one, other in zip(tree_leaves((result, found)), tree_leaves((wanted, expected))):
        if isinstance(other, torch.Tensor):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6, equal_nan=True)


def calls_of(name):
    """The samples, and the last with a number once more with another."""
    calls = list(Op._all[name].samples(torch.device("cpu")))
    # A group norm's scale is a tensor.
    others = [
        call | more for call in calls if (more := {k: v for k, v in NUMBERS.items() if isinstance(call.get(k), float)})
    ]
    return [*calls, *others[-1:]]


@pytest.mark.parametrize("name", ["slice_metrics", "unwindow_counts", "window_counts"])
def test_a_second_value_of_a_number(name):
    """By default the first value is baked in, and a second one makes it an argument."""
    call = next(iter(Op._all[name].samples(torch.device("cpu"))))
    function = getattr(ops, name)
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    for value in (1.0, 2.5):
        assert_same(compiled, function, call | {k: value * call[k] for k in NUMBERS if k in call})


def test_by_inductor():
    """The one that crashed there."""
    x, y = torch.rand(2, 1, 1, 11, 12)
    compiled = torch.compile(ops.slice_metrics, fullgraph=True)
    assert torch.equal(compiled(x, y, data_range=1.0), ops.slice_metrics(x, y, data_range=1.0))


class Sampler(nn.Module):
    """Three evaluations of a small network, with a corrector and with noise."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(2, 1, 3, padding=1)
        self.table = solver_table(BrownianBridge(), 3, solver="unipc")

    def forward(self, y):
        return sample_bridge(lambda x, t, y: self.layer(torch.cat([x, y], 1)), y, self.table)


def test_the_sampler_is_one_graph():
    sampler = Sampler()
    compiled = torch.compile(sampler, fullgraph=True, backend="eager")
    y = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(compiled(y), sampler(y), rtol=1e-5, atol=1e-5)


def test_the_sampler_is_exported():
    """For any batch, where its size is left open."""
    sampler, y = Sampler(), torch.rand(3, 1, 8, 8)
    exported = torch.export.export(sampler, (y,), dynamic_shapes=({0: torch.export.Dim.AUTO},)).module()
    for slices in (3, 5):
        y = torch.rand(slices, 1, 8, 8)
        torch.testing.assert_close(exported(y), sampler(y), rtol=1e-5, atol=1e-5)


@pytest.mark.night
@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_operator_by_inductor(name, dynamic):
    function = getattr(ops, name)
    compiled = torch.compile(function, fullgraph=True, dynamic=dynamic)
    for call in calls_of(name):
        assert_same(compiled, function, call)


@pytest.mark.night
@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("solver", ["dbim", "unipc", "sde", "ancestral"])
def test_every_solver_by_inductor(solver, dynamic):
    """A table of every form: with history, corrector, noise, and history and noise."""
    sampler = Sampler()
    sampler.table = solver_table(BrownianBridge(), 4, solver=solver)
    compiled = torch.compile(sampler, fullgraph=True, dynamic=dynamic)
    for slices in (2, 3):
        y = torch.rand(slices, 1, 8, 8)
        torch.testing.assert_close(compiled(y), sampler(y), rtol=1e-5, atol=1e-5)


class Call(nn.Module):
    """An operator's call, tensors given and the rest fixed."""

    def __init__(self, name, rest):
        super().__init__()
        self.name, self.rest = name, rest

    def forward(self, tensors):
        result = getattr(ops, self.name)(**tensors, **self.rest)
        return tensors["x_next"] if result is None else result


@pytest.mark.night
@pytest.mark.parametrize(("dynamic", "strict"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("name", NAMES)
def test_every_operator_is_exported(name, dynamic, strict):
    for call in Op._all[name].samples(torch.device("cpu")):
        tensors = {k: v.detach() for k, v in call.items() if isinstance(v, torch.Tensor)}
        module = Call(name, {k: v for k, v in call.items() if k not in tensors})
        shapes = ({k: dict.fromkeys(range(v.dim()), torch.export.Dim.AUTO) for k, v in tensors.items()},)
        exported = torch.export.export(module, (tensors,), dynamic_shapes=shapes if dynamic else None, strict=strict)
        for one, other in zip(tree_leaves(exported.module()(copied(tensors))), tree_leaves(module(copied(tensors)))):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6, equal_nan=True)


@pytest.mark.night
@pytest.mark.parametrize(("dynamic", "strict"), [(False, False), (True, True)])
def test_the_sampler_is_exported_in_every_other_way(dynamic, strict):
    sampler, y = Sampler(), torch.rand(3, 1, 8, 8)
    shapes = ({0: torch.export.Dim.AUTO},) if dynamic else None
    exported = torch.export.export(sampler, (y,), dynamic_shapes=shapes, strict=strict).module()
    for slices in (3, 5) if dynamic else (3,):
        y = torch.rand(slices, 1, 8, 8)
        torch.testing.assert_close(exported(y), sampler(y), rtol=1e-5, atol=1e-5)
