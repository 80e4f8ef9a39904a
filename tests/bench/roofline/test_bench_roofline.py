"""The prediction of the CUDA kernels: how instructions are counted, and what is said of them."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.pages import readme
from bench.roofline import device, page, sass
from bench.roofline.work import Launch, Predicted
from bench.speed.case import COPY, Case, Goal

# A loop of three instructions in the middle, one way past a half load, one over a table, a call that is not followed.
CODE = """
.text.a_kernel:
        /*0000*/                   S2R R0, SR_TID.X ;
        /*0010*/               @P0 BRA `(.L_x_1) ;
        /*0020*/                   LDG.E.64 R2, [R4] ;
        /*0030*/                   FADD R2, R2, R3 ;
        /*0040*/                   FADD R2, R2, R3 ;
.L_x_1:
        /*0050*/                   BSSY B0, `(.L_x_2) ;
.L_x_3:
        /*0060*/                   FFMA R2, R2, R2, R3 ;
        /*0070*/                   LDS.128 R4, [R8] ;
        /*0080*/              @!P1 BRA `(.L_x_3) ;
        /*0090*/               @P2 CALL.REL.NOINC `($__internal_0_$__slow) ;
        /*00a0*/                   BSYNC B0 ;
        /*00b0*/                   FMUL R9, R9, R9 ;
.L_x_2:
        /*00c0*/                   BRX R4 -0xd0 (*"BRANCH_TARGETS .L_x_5,.L_x_4"*) ;
.L_x_4:
        /*00d0*/                   MUFU.EX2 R1, R1 ;
        /*00e0*/                   EXIT ;
.L_x_5:
        /*00f0*/                   EXIT ;
        /*0100*/                   MUFU.RCP R1, R1 ;
.text.another:
        /*0000*/                   EXIT ;
"""


@pytest.fixture
def code():
    return sass.functions(CODE)["a_kernel"]


def test_kernels_and_their_loops_are_found(code):
    assert list(sass.functions(CODE)) == ["a_kernel", "another"]
    assert sass.loops(code) == [sass.Loop(0x60, 0x80)]
    assert sass.loops(sass.functions(CODE)["another"]) == []


def test_the_longest_way_is_counted(code):
    longest = sass.longest(code, (5,))
    assert longest == {
        "S2R": 1,
        "BRA": 1 + 5,
        "LDG.E.64": 1,
        "FADD": 2,
        "BSSY": 1,
        "FFMA": 5,
        "LDS.128": 5,
        "CALL.REL.NOINC": 1,
        "BSYNC": 1,
        "BRX": 1,
        "MUFU.EX2": 1,
        "EXIT": 1,
    }
    assert sass.longest(code, (5,), ("LDG.E.64",)) == longest - Counter({"LDG.E.64": 1, "FADD": 2})


def test_other_loops_and_no_way_are_refused(code):
    with pytest.raises(ValueError, match="expected 2 loops, found 1: 0x60 to 0x80"):
        sass.longest(code, (1, 1))
    with pytest.raises(ValueError, match="expected a way without"):
        sass.longest(code, (1,), ("FFMA",))


def test_the_slowest_pipe_is_the_bound():
    busy = device.clocks({"FADD": 8, "IMAD.WIDE": 4, "LDS.128": 2, "MUFU.RSQ": 3, "BAR.SYNC": 1})
    assert busy["issue"] == 18 / 4
    assert busy["multiply-add of integers"] == 2
    assert busy["memory"] == 8
    assert busy["special function"] == 6
    second = device.MULTIPROCESSORS * device.CLOCK
    assert device.bounds(0.0, second, {"MUFU.RSQ": 1})[0] == device.Bound("special function", pytest.approx(2e6))
    assert device.bounds(device.BANDWIDTH, 1, {"MUFU.RSQ": 1})[0] == device.Bound("bandwidth", 1e6)


def test_goals_stand_beside_what_is_predicted(tmp_path):
    goals = (Goal(COPY, 0.9, None), Goal(COPY, 0.4, None), Goal("torchmetrics", 2, None), Goal(COPY, 0.8, 2))
    case = Case("sampler_step", "3x1x64x64", int, {}, 12288 * 20, goals)
    launch = Launch("sampler_step", "step_kernel", "ILb1E", 24, 128, (1,), 2.0 * case.moved)
    assert launch.is_of("_ZN2sf7011step_kernelILb1EEEv")
    assert not launch.is_of("_ZN2sf7014other_step_kernelILb1EEEv")
    counts = Counter({"FADD": 12})
    results = [(case, [Predicted(launch, counts, device.bounds(launch.transferred, launch.warps, counts))])]
    path = tmp_path / "roofline.md"
    path.write_text(page.markdown(results, {"predicted for": "a GPU"}))
    assert readme.section(path, "Goals")[2:] == [
        "| sampler_step | 3x1x64x64 | 90 % of copy | 50 % of copy | out of reach |",
        "| sampler_step | 3x1x64x64 | 40 % of copy | 50 % of copy | within reach |",
        "| sampler_step | 3x1x64x64 | 2 x torchmetrics | - | open: the rival's code is not here |",
    ]
    (row,) = readme.section(path, "Operators")[2:]
    assert row == "| sampler_step | 3x1x64x64 | 20.0 | 40.0 | 3 | 1 | bandwidth | 0.1 | 50 % | 0.42 million |"
    page.write_csv(tmp_path / "roofline.csv", results, {"predicted for": "a GPU"})
    assert (
        "sampler_step,3x1x64x64,12288,245760,step_kernel,24,128,491520.0,12," in (tmp_path / "roofline.csv").read_text()
    )
