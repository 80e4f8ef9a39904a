"""A long run takes no more memory than a short one."""

import ctypes
import platform

import pytest

from bench.evidence.soak import Soak, resident_mib, soak
from spectac_fast.correct.engines.memory import FreedMemory

GIB = 2**10


def test_growth_is_between_the_halves():
    run = Soak(10, 1.0, 0, 10, ((10, 300.0), (40, 320.0), (60, 310.0), (100, 330.0)))
    assert (run.largest, run.grown, run.at(0.5)) == (330.0, 10.0, 320.0)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose allocator it is about")
def test_what_was_freed_goes_back_to_the_system():
    libc, size = ctypes.CDLL(None), 2**16
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    libc.malloc_trim(0)
    memory, before = FreedMemory(), resident_mib()
    memory.check()
    blocks = [libc.malloc(size) for _ in range(1280)]
    # What stays in use between the others keeps the allocator from returning them by itself.
    kept, freed = blocks[::64], [block for k, block in enumerate(blocks) if k % 64]
    for block in blocks:
        libc.memset(block, 1, size)
    for block in freed:
        libc.free(block)
    grown = resident_mib() - before
    memory.check()
    left = resident_mib() - before
    for block in kept:
        libc.free(block)
    assert grown > 60
    assert left < 20


@pytest.mark.night
def test_a_thousand_small_studies_in_flat_memory(tmp_path, figures):
    run = soak(tmp_path)
    figures(run.figures())
    assert (run.exit_code, run.written) == (0, 1000)
    # Keeping one stack of every study would add 80 MiB in the second half. What freed buffers may hold (`FreedMemory`)
    # comes and goes in both halves.
    assert run.grown < 32
    assert run.largest < 1.5 * GIB
