"""The machine that the emulated kernels run on: it finds what is wrong, and nothing else."""

from __future__ import annotations

import re

import pytest
import torch
from emulation import FORWARD, KIND, REVERSE, Emulated, emulated, why_not
from emulation.translate import translated

pytestmark = pytest.mark.skipif(bool(why_not()), reason=str(why_not()))

ORDERS = [FORWARD, REVERSE, 19, 20]
of_racing_probes = pytest.mark.skipif(KIND == "thread", reason="ThreadSanitizer ends such a launch")


@pytest.fixture
def machine() -> Emulated:
    return emulated()


@pytest.mark.parametrize("order", ORDERS)
def test_sound_kernels_run(machine, order):
    said, left = machine.probe("sum_of_block", order)
    assert said == ""
    assert (left[:64] == 63 * 64 / 2).all()
    said, left = machine.probe("sum_of_warp", order)
    assert said == ""
    assert torch.equal(left[:64], torch.tensor([31 * 32 / 2, 31 * 32 / 2 + 32 * 32]).repeat_interleave(32))
    assert (left[64:] == -1).all()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ("two_barriers", r"threads of a block wait at probes/probes.cu:\d+ and at probes/probes.cu:\d+"),
        ("left_early", r"(a thread left while others wait|threads have left and others wait) at probes/probes.cu"),
        ("one_lane_elsewhere", r"lanes of a warp wait at probes/probes.cu:\d+ and at probes/probes.cu:\d+"),
        ("lane_missing", r"(a lane of the mask has left|a lane left while others of its warp wait) at probes/"),
        ("not_in_own_mask", "a lane is not in its own mask at probes/probes.cu"),
        ("waits_for_ever", r"64 threads wait for ever, the last barrier is at probes/probes.cu:\d+"),
        ("misaligned_vector", "misaligned access of 16 bytes"),
        ("too_much_shared", "more than 48 KiB of shared memory at probes/probes.cu"),
        ("too_many_threads", "CUDA error 9"),
        ("too_many_blocks", "CUDA error 9"),
        ("too_much_dynamic", "CUDA error 1"),
    ],
)
def test_what_a_gpu_would_refuse_is_said(machine, probe, message, order):
    assert machine.probe("sum_of_block", order)[0] == ""
    said, _ = machine.probe(probe, order)
    assert re.search(message, said)
    # And the machine is as it was.
    assert machine.probe("sum_of_block", order)[0] == ""


@of_racing_probes
def test_what_was_never_written_is_nan(machine):
    said, left = machine.probe("no_barrier")
    assert said == ""
    assert left[:64].isnan().any()


@of_racing_probes
def test_blocks_come_in_the_order_asked_for(machine):
    assert machine.probe("same_place", FORWARD)[1][0] == 7
    assert machine.probe("same_place", REVERSE)[1][0] == 0
    assert len({machine.probe("same_place", seed)[1][0].item() for seed in range(2, 20)}) > 2


def test_a_failed_launch_is_said_even_if_its_error_is_caught(machine):
    message = "a launch failed and nobody said so: threads of a block"
    with pytest.raises(RuntimeError, match=message), machine.in_place():
        machine._machine.emulated_probe(b"two_barriers", torch.zeros(4096).data_ptr())


@pytest.mark.parametrize(
    ("kind", "probe", "report"),
    [
        ("thread", "no_barrier", "data race"),
        ("thread", "same_place", "data race"),
        ("address", "beyond_shared", "use-after-poison"),
    ],
)
def test_a_sanitizer_reports(machine, kind, probe, report):
    if kind != KIND:
        pytest.skip(f"needs a build with the {kind} sanitizer, which `make race` makes")
    assert machine.reports() == ""
    machine.probe("sum_of_block")
    machine.probe("sum_of_warp")
    assert machine.reports() == ""
    machine.probe(probe)
    assert report in machine.reports()
    assert machine.reports() == ""


def test_half_precision_is_rounded_as_torch_rounds_it(machine):
    """Every sign, exponent and last kept digit, with the digits below at, beside and between the middle."""
    upper = torch.arange(2**16, dtype=torch.int64)[:, None] << 16
    ties = torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x0FFF, 0x1000, 0x1001, 0x3000, 0x2FFF, 0xF000])
    values = (upper | ties).flatten().to(torch.int32).view(torch.float32)
    for ours, dtype in zip(machine.encode(values), (torch.bfloat16, torch.float16)):
        torch.testing.assert_close(ours, values.to(dtype), rtol=0, atol=0, equal_nan=True)
    every = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.float16)
    torch.testing.assert_close(machine.decode(every), every.float(), rtol=0, atol=0, equal_nan=True)


def test_lines_keep_their_numbers():
    variables = "a\n__shared__ float x[4][kWide + 1],\n    y[f(2)];\n"
    lines = translated(variables + 'asm("ex2.approx.ftz.f32 %0, %1;"\n  : "=f"(r) : "f"(g(t)));\nb').splitlines()
    x, y = "::emulated::shared<float[4][kWide + 1]>()", "::emulated::shared<float[f(2)]>()"
    assert lines[1] == f"auto& x = {x}; auto& y = {y};"
    assert lines[3:5] == ["r = ::emulated::exp2_approximately(g(t))", ";"]
    assert lines[5] == "b"
    launch = "one<true, 2><<<dim3(a, b), 64,\n 0, stream>>>(call, f(x));"
    assert translated(launch) == "::emulated::launch(one<true, 2>, dim3(a, b), 64,\n 0, stream, call, f(x));"


@pytest.mark.parametrize("text", ['asm("bar.sync 0;");', "__shared__ volatile float x;", "(f)<<<1, 2>>>(x);"])
def test_what_cannot_be_translated_is_refused(text):
    with pytest.raises(ValueError, match="that the emulation does not know"):
        translated(text)
