"""Triton kernels compiled for GPUs that need not be there: no local memory, no spills, 128-bit accesses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest
import triton

pytestmark = pytest.mark.chain

TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
MAX_REGISTERS = 80  # six blocks of 128 threads on a multiprocessor
MIX_REGISTERS = 144  # eleven taps of up to four arrays are on their way at a time


@dataclass(frozen=True)
class Build:
    """One kernel for one architecture.

    types: of arguments that are not what their name says (a pointer to float32, else a 32-bit integer); those of its
    members for a tuple. constants: values of arguments that are compiled in; a capital name stands for the constant of
    the kernel's module. unaligned: 32-bit integers that are not known to be multiples of 16. ones: whether all integers
    are 1 that Triton then compiles in. loads, stores: least number of 128-bit accesses. registers: most that a thread
    may use. scalar_stores: whether single words may be written.
    """

    op: str
    capability: int
    kernel: str
    types: dict = field(default_factory=dict)
    constants: dict = field(default_factory=dict)
    unaligned: tuple = ()
    ones: bool = False
    loads: int = 0
    stores: int = 0
    warps: int = 4
    registers: int = MAX_REGISTERS
    scalar_stores: bool = False

    @property
    def name(self) -> str:
        kinds = [kind.removeprefix("*") for kind in self.types.values() if str(kind).startswith("*")]
        return "-".join([self.kernel.removesuffix("_kernel"), str(self.capability), *kinds])


def sampler_step(network: str, capability: int) -> Build:
    return Build(
        "sampler_step",
        capability,
        "sampler_step_kernel",
        types={"f_ptr": network, "net_ptr": network, "seeds_ptr": "*i64", "lo": "fp32", "hi": "fp32"},
        constants={"noise_ptr": None, "QUADS": "QUADS"},
        unaligned=("step", "sample"),
        loads=5,  # x, y, h1, h2 and anchor at the least
        stores=3,  # x_next, x0 and anchor
    )


def bridge_add_noise(x_t: str, capability: int) -> Build:
    return Build(
        "bridge_add_noise",
        capability,
        "bridge_add_noise_kernel",
        types={"t_ptr": "*i64", "seeds_ptr": "*i64", "x_t_ptr": x_t},
        constants={"noise_ptr": None, "OBJECTIVE": 0, "QUADS": "QUADS"},
        unaligned=("step", "sample", "timesteps"),
        loads=2,  # x0 and y
        stores=1,  # target at the least
    )


def group_norm_silu(x: str, capability: int) -> Build:
    return Build(
        "group_norm_silu",
        capability,
        "group_norm_silu_kernel",
        types={"x_ptr": x, "out_ptr": x, "eps": "fp32"},
        constants={"position_stride": 1, "ACTIVATION": "silu", "CHANNELS": 1, "POSITIONS": "TILE"},
        unaligned=("groups", "width"),
        loads=2,  # x, for the moments and for the result
        stores=1,
    )


# Source pixels and outputs; step, origin and reach.
_AXES = dict.fromkeys(("rows", "columns"), ("i32", "i32", "i64", "i64", "i64"))
_SCALES = {"scales": ("fp32", "fp32")}
_WEIGHTS = {"weights": ("fp32",) * 6}


def window_counts(network: str, capability: int, taps: int) -> Build:
    return Build(
        "window_counts",
        capability,
        "window_counts_kernel",
        types={"counts_ptr": "*u16", "out_ptr": network, "gain": "fp32"} | _AXES,
        constants={"TAPS": (taps, taps), "BLOCK": "RESAMPLED_BLOCK" if taps else "BLOCK"},
        unaligned=("channels",),
        loads=0 if taps else 1,
        stores=0 if taps else 1,
        scalar_stores=bool(taps),
    )


def unwindow_counts(network: str, capability: int, taps: int) -> Build:
    types = {"x_ptr": network, "counts_ptr": "*i16", "saturated_ptr": "*i64", "gain": "fp32", "largest": "fp32"}
    return Build(
        "window_counts",
        capability,
        "unwindow_counts_kernel",
        types=types | _AXES,
        constants={"TAPS": (taps, taps), "BLOCK": "RESAMPLED_BLOCK" if taps else "BLOCK"},
        loads=0 if taps else 1,
        stores=0 if taps else 1,
        scalar_stores=bool(taps),
    )


def mix_columns(pixel: str, capability: int) -> Build:
    return Build(
        "moments",
        capability,
        "mix_columns_kernel",
        types={"x_ptr": pixel, "y_ptr": pixel, "squares_ptr": "*fp64"} | _WEIGHTS,
        constants={"TAPS": 11, "TILE": "TILE"},
        unaligned=("height",),
        warps=8,
        registers=MIX_REGISTERS,
        loads=2 * 11 if pixel == "*fp32" else 0,  # x and y, for every tap
        stores=4,  # the four moments
    )


def mix_rows(capability: int) -> Build:
    return Build(
        "slice_metrics",
        capability,
        "mix_rows_kernel",
        types={"ssim_ptr": "*fp64"} | _SCALES | _WEIGHTS,
        constants={"map_ptr": None, "TAPS": 11, "TILE": "TILE"},
        unaligned=("windows_down", "windows_across", "width"),
        warps=8,
        registers=MIX_REGISTERS,
        loads=4 * 11,  # the four moments, for every tap
    )


def ssim_slopes(capability: int) -> Build:
    return Build(
        "ssim_loss",
        capability,
        "slopes_kernel",
        types={"ssim_ptr": "*fp64"} | _SCALES | _WEIGHTS,
        constants={"TAPS": "TAPS", "TILE": "TILE"},
        unaligned=("windows_down", "windows_across", "width", "pixels"),
        warps=8,
        registers=MIX_REGISTERS,
        loads=4 * 11,  # the four moments, for every tap
        stores=4,
    )


def ssim_spread(capability: int) -> Build:
    return Build(
        "ssim_loss",
        capability,
        "spread_kernel",
        types=_WEIGHTS,
        constants={"TAPS": "TAPS", "TILE": "TILE"},
        unaligned=("windows_down", "windows_across"),
        warps=8,
        registers=MIX_REGISTERS,
        loads=11,  # a map of slopes, for every tap
        stores=1,
    )


def ssim_gather(capability: int) -> Build:
    return Build(
        "ssim_loss",
        capability,
        "gather_kernel",
        types={"share": "fp32"} | _WEIGHTS,
        constants={"TAPS": "TAPS", "TILE": "TILE"},
        unaligned=("windows_down", "height"),
        warps=8,
        registers=MIX_REGISTERS,
        loads=4 * 11 + 2,  # the four slopes, for every tap; x and y
        stores=2,
    )


def vq_nearest(z: str, capability: int) -> Build:
    return Build(
        "vq_nearest",
        capability,
        "vq_nearest_kernel",
        types={"z_ptr": z, "index_ptr": "*i64"},
        constants={"DIM": 4, "TOKENS": "TOKENS", "CODES": "CODES"},
        unaligned=("tokens", "sample_stride"),
        loads=1,  # a code
        scalar_stores=True,  # a token's index and its code's dimensions lie apart
    )


BUILDS = [
    make(t, c)
    for make in (sampler_step, bridge_add_noise, group_norm_silu, vq_nearest)
    for t, c in (("*bf16", 80), ("*bf16", 90), ("*fp32", 90))
]
# Equal pixels; pixels that grow up to twofold.
BUILDS += [
    make(t, c, k) for make in (window_counts, unwindow_counts) for t, c, k in (("*fp32", 80, 0), ("*bf16", 90, 4))
]
BUILDS += [mix_columns("*bf16", 90), mix_columns("*fp32", 80), mix_columns("*fp32", 90), mix_rows(80), mix_rows(90)]
BUILDS += [make(capability) for make in (ssim_slopes, ssim_spread, ssim_gather) for capability in (80, 90)]

# The last of every kernel's builds, with and without resampling.
ONES = list({(b.kernel, str(b.constants)): replace(b, ones=True) for b in BUILDS}.values())

# Runs in a process of its own, because the interpreter and the compiler exclude each other. Arguments: folder, builds.
COMPILE = """
import importlib, json, sys
from pathlib import Path
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

folder, builds = sys.argv[1], json.loads(sys.argv[2])

def of(value):
    return tuple(value) if isinstance(value, list) else value

for file, b in builds.items():
    module = importlib.import_module(f"spectac_fast.kernels.{b['op']}")
    kernel = getattr(module, b["kernel"])
    signature, constants, attributes = {}, {}, {}
    for i, argument in enumerate(kernel.params):
        n = argument.name
        if n in b["constants"]:
            value = b["constants"][n]
            signature[n], constants[i,] = "constexpr", getattr(module, value) if str(value).isupper() else of(value)
            continue
        kinds = of(b["types"].get(n, "*fp32" if n.endswith("_ptr") else "i32"))
        members = {(i,): kinds} if isinstance(kinds, str) else {(i, k): kind for k, kind in enumerate(kinds)}
        # Triton looks into tuples, whatever do_not_specialize says.
        special = b["ones"] and (len(members) > 1 or not argument.do_not_specialize)
        for place, kind in members.items():
            if special and kind in ("i32", "i64"):
                members[place], constants[place] = "constexpr", 1
            elif kind.startswith("*") or (kind == "i32" and n not in b["unaligned"]):
                attributes[place] = [["tt.divisibility", 16]]
        signature[n] = members[i,] if isinstance(kinds, str) else tuple(members.values())
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    target = GPUTarget("cuda", b["capability"], 32)
    compiled = triton.compile(source, target=target, options={"num_warps": b["warps"]})
    Path(folder, f"{file}.cubin").write_bytes(compiled.asm["cubin"])
"""


def inspect(cubin: Path, what: str) -> str:
    environment = os.environ | {"PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"}
    command = [str(TOOLS / "cuobjdump"), what, str(cubin)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def compile_all(builds: list[Build], folder: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(folder / "cache")
    command = [sys.executable, "-c", COMPILE, str(folder), json.dumps({b.name: asdict(b) for b in builds})]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def cubins(tmp_path_factory):
    if not (TOOLS / "cuobjdump").exists():
        pytest.skip("this Triton has no cuobjdump")
    folder = tmp_path_factory.mktemp("cubin")
    compile_all(BUILDS, folder)
    return folder


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.name)
def test_kernel_stays_in_registers_and_moves_16_bytes_at_a_time(cubins, build):
    cubin = cubins / f"{build.name}.cubin"
    usage = inspect(cubin, "--dump-resource-usage")
    assert re.search(r"STACK:0\b.*LOCAL:0\b", usage), usage
    assert int(re.search(r"REG:(\d+)", usage)[1]) <= build.registers
    code = inspect(cubin, "--dump-sass")
    assert not re.search(r"\b(LDL|STL)\b", code)
    assert len(re.findall(r"\bLDG\.E\.128", code)) >= build.loads
    assert len(re.findall(r"\bSTG\.E\.128", code)) >= build.stores
    assert build.scalar_stores or not re.search(r"\bSTG\.E +desc", code), "a store of 4 bytes"


def test_every_kernel_takes_integers_that_are_one(tmp_path):
    """Triton compiles them in: they are numbers then, without the methods of what a kernel computes with."""
    compile_all(ONES, tmp_path)
    assert len(list(tmp_path.glob("*.cubin"))) == len(ONES)
