"""Whole studies, one after the other, hold no more than a few do."""

import pytest

from bench.evidence.soak import soak


@pytest.mark.night
def test_three_hundred_whole_studies_in_flat_memory(tmp_path, figures):
    run = soak(tmp_path, 300, slices=None)
    figures(run.figures())
    assert (run.exit_code, run.written) == (0, 6 * 300)
    # Keeping one stack of every series would add 80 MiB in the second half.
    assert run.grown("resident") < 48
    assert run.largest("resident") < 1.5 * 2**10
    assert run.grown("files") < 16
    assert run.grown("threads") < 4
