"""Triton kernels compiled for GPUs that need not be there: no local memory, no spills, 128-bit accesses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import triton

TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
MAX_REGISTERS = 80  # six blocks of 128 threads on a multiprocessor

BUILDS = [("*bf16", 80), ("*bf16", 90), ("*fp32", 90)]  # (network's dtype, architecture)

# Runs in a process of its own, because the interpreter and the compiler exclude each other. Arguments: folder, builds.
COMPILE = """
import ast, sys
from pathlib import Path
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from spectac_fast.kernels.sampler_step import QUADS, sampler_step_kernel as kernel

folder, builds = sys.argv[1], ast.literal_eval(sys.argv[2])
for network, capability in builds:
    types = {name: "*fp32" for name in kernel.arg_names if name.endswith("_ptr")}
    types |= {"f_ptr": network, "net_ptr": network, "seeds_ptr": "*i64", "noise_ptr": "constexpr", "QUADS": "constexpr"}
    types |= {"lo": "fp32", "hi": "fp32"} | dict.fromkeys(("elements", "net_stride", "step", "sample"), "i32")
    aligned = [i for i, n in enumerate(kernel.arg_names) if types[n].startswith("*") or n in ("elements", "net_stride")]
    source = ASTSource(
        fn=kernel,
        signature={name: types[name] for name in kernel.arg_names},
        constexprs={(kernel.arg_names.index(n),): v for n, v in {"noise_ptr": None, "QUADS": QUADS}.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 4})
    Path(folder, f"{network[1:]}-{capability}.cubin").write_bytes(compiled.asm["cubin"])
"""


def inspect(cubin: Path, what: str) -> str:
    environment = os.environ | {"PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"}
    command = [str(TOOLS / "cuobjdump"), what, str(cubin)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


@pytest.fixture(scope="module")
def cubins(tmp_path_factory):
    if not (TOOLS / "cuobjdump").exists():
        pytest.skip("this Triton has no cuobjdump")
    folder = tmp_path_factory.mktemp("cubin")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(folder / "cache")
    command = [sys.executable, "-c", COMPILE, str(folder), str(BUILDS)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)
    assert run.returncode == 0, run.stderr
    return folder


@pytest.mark.parametrize(("network", "capability"), BUILDS)
def test_kernel_stays_in_registers_and_moves_16_bytes_at_a_time(cubins, network, capability):
    cubin = cubins / f"{network[1:]}-{capability}.cubin"
    usage = inspect(cubin, "--dump-resource-usage")
    assert re.search(r"STACK:0\b.*LOCAL:0\b", usage), usage
    assert int(re.search(r"REG:(\d+)", usage)[1]) <= MAX_REGISTERS
    code = inspect(cubin, "--dump-sass")
    assert not re.search(r"\b(LDL|STL)\b", code)
    # x, y, h1, h2 and anchor at the least, and x_next, x0 and anchor back.
    assert len(re.findall(r"\bLDG\.E\.128", code)) >= 5
    assert len(re.findall(r"\bSTG\.E\.128", code)) >= 3
    assert not re.search(r"\bSTG\.E +desc", code), "a store of 4 bytes"
