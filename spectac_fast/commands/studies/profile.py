"""`spectac profile`: correct the bundled study, or others, and show where the time goes."""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from spectac_fast.commands import _flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _flags.add_inputs(parser, "DICOM files or folders (default: the bundled study)", required=False)
    _flags.add_model(parser)
    _flags.add_sampling(parser)
    _flags.add_device(parser)


def run(args: argparse.Namespace) -> int:
    from spectac_fast.correct import correct_files
    from spectac_fast.data import demo
    from spectac_fast.device import resolve_device
    from spectac_fast.errors import SpectacError
    from spectac_fast.models.registry import load

    if resolve_device(args.device) != "cpu" and shutil.which("nsys") and os.environ.get("SPECTAC_NVTX") != "1":
        _under_nsys()
    translator = load(args.model, device=args.device)
    with tempfile.TemporaryDirectory() as folder:
        inputs = args.inputs or list(demo.unpack(Path(folder) / "input"))

        def correct(out: str) -> int:
            report = correct_files(
                inputs, Path(folder) / out, translator, steps=args.steps, samples=args.samples, seed=args.seed
            )
            if not report.slices:
                raise SpectacError((report.failed or ["nothing to profile: no NC series was found."])[0])
            return report.slices

        # The first time reads weights, chooses kernels and fills caches.
        correct("first")
        if os.environ.get("SPECTAC_NVTX") == "1":
            correct("second")
        else:
            print("\n".join(_table(correct, translator.device)))
    return 0


def _under_nsys() -> NoReturn:
    """This command once more, its phases as NVTX ranges, under nsys, which prints its own tables.

    It takes the place of this process, so that whoever stops one stops the other.
    """
    command = [sys.executable, "-m", "spectac_fast.cli", *sys.argv[1:]]
    nsys = ["nsys", "profile", "--trace=cuda,nvtx", "--stats=true", "-o", _free_name("spectac-profile")]
    os.execvpe(nsys[0], [*nsys, *command], {**os.environ, "SPECTAC_NVTX": "1"})


def _free_name(name: str) -> str:
    """The name, with a number where a file here has it, whatever ending nsys gives it: nothing is replaced."""
    taken = {each.partition(".")[0] for each in os.listdir()}
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in taken)


def _table(correct, device) -> Iterator[str]:
    import time

    import torch

    from spectac_fast.tracing import PHASES, PhaseClock, tracing

    clock = PhaseClock(torch.cuda.synchronize if device.type == "cuda" else lambda: None)
    started = time.perf_counter()
    with tracing(clock.range):
        slices = correct("phases")
    total = time.perf_counter() - started
    yield f"{slices} slices on {device}: {total:.2f} s, {1e3 * total / slices:.2f} ms per slice."
    yield "Reading, writing and the network overlap, so that shares may add up to more than 100 %."
    yield ""
    yield f"{'phase':12} {'calls':>7} {'s':>9} {'ms/slice':>9} {'share':>7}"
    for name in PHASES:
        if clock.calls[name]:
            seconds = clock.seconds[name]
            yield (
                f"{name:12} {clock.calls[name]:7d} {seconds:9.3f} {1e3 * seconds / slices:9.3f} {seconds / total:7.1%}"
            )
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile, tracing(torch.profiler.record_function):
        correct("operators")
    sort = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    yield ""
    yield profile.key_averages().table(sort_by=sort, row_limit=15, max_name_column_width=40)
