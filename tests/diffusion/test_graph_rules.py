"""Recording by torch's rules, which a stand-in for its CUDA calls keeps: streams, the cache, inference mode."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import time

import pytest
import torch

from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.diffusion.graph import CudaRecording, Graphs, run_graphed
from spectac_fast.diffusion.solvers import solver_table

MIB = 2**20


class FakeStream:
    """Work goes on it in order; `waits` are the events that it waits for."""

    def __init__(self, device):
        self.device, self.waits = torch.device(device), []

    def wait_stream(self, other):
        pass

    def wait_event(self, event):
        self.waits.append(event.recorded_on)


class FakeEvent:
    recorded_on = None

    def record(self, stream):
        self.recorded_on = stream


class FakeGraph:
    """A graph whose replay does nothing: no kernel was captured."""

    def replay(self):
        pass


class FakeCuda:
    """What `CudaRecording` asks of torch.cuda. `cached`: bytes that the allocator keeps and a capture gives back."""

    def __init__(self, monkeypatch):
        self.streams = {torch.device("cpu"): FakeStream("cpu")}
        self.current, self.private, self.cached = self.streams[torch.device("cpu")], 0, 0
        self.captured_on, self.capturing = [], 0
        for name in ("device", "memory_reserved", "current_stream", "stream", "graph"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
        monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)

    def device(self, device):
        return contextlib.nullcontext()

    def memory_reserved(self, device):
        return self.cached + self.private

    def current_stream(self, device):
        return self.current

    @contextlib.contextmanager
    def stream(self, stream):
        outside, self.current = self.current, stream
        yield
        self.current = outside

    @contextlib.contextmanager
    def graph(self, graph, stream=None, capture_error_mode="global"):
        assert stream is not None, "torch would take a stream of the first device that captured"
        assert capture_error_mode == "thread_local"
        self.cached = 0
        self.capturing += 1
        assert self.capturing == 1, "two captures at once"
        self.captured_on.append(stream)
        with self.stream(stream):
            yield
        self.capturing -= 1


@pytest.fixture
def cuda(monkeypatch):
    return FakeCuda(monkeypatch)


def test_the_size_of_a_recording_does_not_depend_on_what_the_allocator_kept(cuda):
    def function(x):
        cuda.private += 5 * MIB if cuda.capturing else 0
        return x + 1

    for cached in (0, 64 * MIB):
        cuda.cached = cached
        recording = CudaRecording(function, [torch.ones(4)])
        assert recording.bytes == 5 * MIB + 16
    assert [stream.device for stream in cuda.captured_on] == [torch.device("cpu")] * 2


def test_a_caller_on_another_stream_waits_for_the_one_before(cuda):
    recording = CudaRecording(lambda x: x + 1, [torch.ones(4)])
    one, other = FakeStream("cpu"), FakeStream("cpu")
    with cuda.stream(one):
        recording.replay([torch.ones(4)])
    with cuda.stream(other):
        recording.replay([torch.ones(4)])
    assert other.waits == [one]
    assert one.waits == [cuda.streams[torch.device("cpu")]]


@pytest.mark.parametrize("first", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize("second", [torch.inference_mode, torch.no_grad])
def test_a_recording_serves_every_mode(cuda, first, second):
    with first():
        recording = CudaRecording(lambda x: 2 * x, [torch.ones(4)])
        recording.replay([torch.full((4,), 3.0)])
    with second():
        given = torch.full((4,), 5.0)
        recording.replay([given])
        assert torch.equal(recording._inputs[0], given)


def test_two_samplers_record_one_after_the_other():
    inside, most = [0], [0]

    class Slow:
        bytes = 1

        def __init__(self, function, inputs):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            inside[0] -= 1

        def replay(self, inputs):
            return inputs[0]

    def use(k):
        graphs = Graphs(record=Slow)
        for _ in range(3):
            graphs.call(use, k, torch.neg, [torch.ones(2)])

    threads = [threading.Thread(target=use, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_shortage_of_memory_passes(caplog):
    tried = []

    class Short:
        bytes = 1

        def __init__(self, function, inputs):
            tried.append(len(tried))
            if len(tried) < 3:
                raise torch.OutOfMemoryError("CUDA out of memory")

        def replay(self, inputs):
            return inputs[0]

    graphs = Graphs(record=Short)
    with caplog.at_level(logging.WARNING):
        answers = [graphs.call(test_a_shortage_of_memory_passes, 0, torch.neg, [torch.ones(2)]) for _ in range(60)]
    # At the second call, 16 later, 32 later.
    assert len(tried) == 3
    assert [found is None for found in answers] == [True] * 51 + [False] * 9
    assert not caplog.records


def test_nothing_is_remembered_of_a_network_that_is_gone():
    def refuse(function, inputs):
        raise RuntimeError("cannot")

    class Network:
        def __call__(self, x, t, context):
            return 0.3 * x

        def method(self, x, t, context):
            return 0.3 * x

    graphs = Graphs(record=refuse)
    table = solver_table(BrownianBridge(num_timesteps=1000, max_var=0.05, objective="grad"), 3)
    y = torch.ones(2, 1, 8, 8)
    given = {"context": y, "seeds": torch.tensor([1, 2]), "blocks": [(slice(0, 2), 0)]}
    networks = [Network() for _ in range(3)]
    for network in networks:
        for _ in range(2):
            run_graphed(graphs, "auto", network, y, table, **given)
            run_graphed(graphs, "auto", network.method, y, table, **given)
    assert len(graphs._seen) == 3
    assert all(attempt.refused for each in graphs._seen.values() for attempt in each.values())
    del networks, network
    gc.collect()
    assert len(graphs._seen) == 0
