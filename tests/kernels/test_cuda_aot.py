"""The .cu files compiled for GPUs that need not be there: no warning, no spill, few registers, wide accesses."""

from __future__ import annotations

import csv
import re
import subprocess

import pytest
import torch

from bench.roofline import compiler, roofline, sass, work
from bench.speed.case import Case

pytestmark = pytest.mark.chain

# Kernel -> most registers a thread may use; 64 keeps eight blocks of 128 threads on a multiprocessor.
REGISTER_BUDGET = {
    "backproject": 80,
    "bridge_add_noise": 64,
    "group_norm_silu": 64,
    "project": 80,
    "sampler_step": 64,
    "slice_metrics": 128,
    "ssim_loss": 128,
    "vq_nearest": 64,
    "window_counts": 48,
}

# Op -> least number of 128-bit loads and stores in its code.
WIDE = {
    "backproject": (1, 0),  # a stencil's weights; its threads are neighbouring slices, which share it
    "bridge_add_noise": (3 * 3, 3 * 2),  # x0, y and noise; x_t and target; per objective
    "group_norm_silu": (3 * 2 * 8, 2 * 2 * 8),  # eight steps; three kernels that read and two that write, two layouts
    "project": (2, 0),  # a stencil's weights; its threads are neighbouring slices, which share it
    "sampler_step": (7, 4),  # x, f, y, h1, h2, noise and anchor; anchor, x0, x_next and the network's input
    "slice_metrics": (2 * 2 * 2, 0),  # x and y, before the loop and ahead of each turn, per window; few outputs
    "ssim_loss": (2 * 2, 0),  # x and y, before the loop and ahead of each turn; the maps are written by columns
    "vq_nearest": (1, 0),  # a code's four dimensions
    "window_counts": (1 + 2 + 2, 2 + 1),  # stored counts, float32 counts, x; x, stored counts
}

# Sums over whole slices are exact only in float64.
DOUBLE = {"slice_metrics", "ssim_loss"}


# Of each all kernels are compiled, half a minute: two in every run, the others by `make acceptance`.
@pytest.fixture(
    scope="module",
    params=["sm_80", "sm_90", *(pytest.param(name, marks=pytest.mark.large) for name in ("sm_100", "sm_120"))],
)
def compiled(request, repository, tmp_path_factory):
    """{op: (compiler's report, cubin)} for one architecture."""
    nvcc = compiler.nvcc()
    if nvcc is None:
        pytest.skip("no CUDA compiler here: neither a toolkit's nvcc nor the extra of that name")
    folder = tmp_path_factory.mktemp(request.param)
    results = {}
    for source in sorted((repository / "csrc/cuda").glob("*.cu")):
        cubin = folder / f"{source.stem}.cubin"
        run = compiler.compiled(nvcc, source, cubin, request.param)
        assert run.returncode == 0, run.stderr
        results[source.stem] = run.stderr, cubin
    return results


def machine_code(cubin):
    if compiler.nvdisasm() is None:
        pytest.skip("no nvdisasm here")
    return compiler.disassembled(cubin)


def test_every_kernel_has_a_budget(repository):
    assert {path.stem for path in (repository / "csrc/cuda").glob("*.cu")} == set(REGISTER_BUDGET)


def test_a_compiler_that_a_package_brought_is_found(tmp_path, monkeypatch):
    program = tmp_path / "nvidia/cu13/bin/nvcc"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert compiler.nvcc() != str(program)
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "torch/__init__.py"))
    assert compiler.nvcc() == str(program)


def test_nothing_spills_and_registers_stay_within_budget(compiled):
    for op, (report, _) in compiled.items():
        stacks = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
        assert stacks, report
        assert all(numbers == ("0", "0", "0") for numbers in stacks), f"{op}: {stacks}"
        used = [int(n) for n in re.findall(r"Used (\d+) registers", report)]
        assert max(used) <= REGISTER_BUDGET[op], f"{op}: {used}"


@pytest.mark.parametrize("op", WIDE)
def test_accesses_are_128_bits_wide(compiled, op):
    code = machine_code(compiled[op][1])
    loads, stores = WIDE[op]
    assert len(re.findall(r"\bLDG\.E\.128", code)) >= loads
    assert len(re.findall(r"\bSTG\.E\.128 ", code)) >= stores
    assert not re.search(r"\b(LDL|STL)\b", code)
    assert op in DOUBLE or not re.search(r"\bD(ADD|MUL|FMA)\b", code), "double precision"


def test_the_prediction_knows_the_loops_of_the_machine_code(compiled, repository):
    """Of every measured case: other loops, or a way that is gone, are refused."""
    cubins = {op: cubin for op, (_, cubin) in compiled.items()}
    if not cubins["project"].parent.name.startswith(roofline.ARCHITECTURE):
        pytest.skip(f"the prediction is of {roofline.ARCHITECTURE}")
    if "release 13.0" not in subprocess.run([compiler.nvcc(), "--version"], capture_output=True, text=True).stdout:
        pytest.skip("the prediction is of nvcc 13.0")
    code = {op: sass.functions(machine_code(cubin)) for op, cubin in cubins.items()}
    with (repository / "bench/results/roofline.csv").open(newline="") as file:
        known = {(row["op"], row["size"]): float(row["needed"]) for row in csv.DictReader(file)}
    assert {op for op, _ in known} == set(work.OPS)
    for (op, size), needed in known.items():
        for one in roofline.predicted(Case(op, size, int, {}, needed), code):
            assert one.bounds[0].microseconds > 0


def test_cpu_build_says_that_cuda_is_missing():
    from spectac_fast import _native

    if torch.version.cuda:
        pytest.skip("this torch is built with CUDA")
    assert "without CUDA" in _native.why_not("cuda") or "not built" in _native.why_not("cuda")
