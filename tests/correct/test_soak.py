"""A long run takes no more memory than a short one."""

import ctypes
import platform
import threading

import pytest

from bench.evidence.soak import Held, Soak, held, soak
from spectac_fast.correct.engines.memory import FreedMemory

GIB = 2**10


def test_growth_is_between_the_halves():
    told = [Held(10, 300.0, 9, 4), Held(40, 320.0, 12, 4), Held(60, 310.0, 11, 4), Held(100, 330.0, 12, 5)]
    run = Soak(10, 100, 1.0, 0, 10, tuple(told))
    assert (run.largest("resident"), run.grown("resident"), run.at(0.5)) == (330.0, 10.0, told[1])
    assert (run.grown("files"), run.grown("threads")) == (0, 1)
    assert "+10 MiB, +0 files and +1 threads" in run.figures()


def test_what_a_process_holds_is_seen(tmp_path):
    before, stop = held(), threading.Event()
    one = threading.Thread(target=stop.wait)
    with open(tmp_path / "a", "w"):
        one.start()
        during = held()
    stop.set()
    one.join()
    assert (during.files - before.files, during.threads - before.threads) == (1, 1)
    assert held(2**22 + 1) is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose allocator it is about")
def test_what_was_freed_goes_back_to_the_system():
    libc, size = ctypes.CDLL(None), 2**16
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    libc.malloc_trim(0)
    memory, before = FreedMemory(), held().resident
    memory.check()
    blocks = [libc.malloc(size) for _ in range(1280)]
    # What stays in use between the others keeps the allocator from returning them by itself.
    kept, freed = blocks[::64], [block for k, block in enumerate(blocks) if k % 64]
    for block in blocks:
        libc.memset(block, 1, size)
    for block in freed:
        libc.free(block)
    grown = held().resident - before
    memory.check()
    left = held().resident - before
    for block in kept:
        libc.free(block)
    # Some of it may have lain free before: 80 MiB in all.
    assert grown > 40
    assert left < 20


@pytest.mark.night
def test_a_thousand_small_studies_in_flat_memory(tmp_path, figures):
    run = soak(tmp_path)
    figures(run.figures())
    assert (run.exit_code, run.written) == (0, 1000)
    # Keeping one stack of every study would add 80 MiB in the second half. What freed buffers may hold (`FreedMemory`)
    # comes and goes in both halves.
    assert run.grown("resident") < 32
    assert run.largest("resident") < 1.5 * GIB
    # No file and no thread stays behind: of the second half's studies there would be as many more.
    assert run.grown("files") < 16
    assert run.grown("threads") < 4
