"""A long run takes no more memory than a short one."""

import pytest

from bench.soak import Soak, soak

GIB = 2**10


def test_growth_is_between_the_halves():
    run = Soak(10, 1.0, 0, 10, ((10, 300.0), (40, 320.0), (60, 310.0), (100, 330.0)))
    assert (run.largest, run.grown, run.at(0.5)) == (330.0, 10.0, 320.0)


@pytest.mark.night
def test_a_thousand_small_studies_in_flat_memory(tmp_path, figures):
    run = soak(tmp_path)
    figures(run.figures())
    assert (run.exit_code, run.written) == (0, 1000)
    # Keeping one stack of every study would add 80 MiB in the second half, and their results as much again.
    assert run.grown < 64
    assert run.largest < 1.5 * GIB
