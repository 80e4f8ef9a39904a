"""A real patient whose projections were stored upside down is told from one who lies as the header says."""

import numpy as np
import pytest
from fake_tomo import edited, frames
from places import SAMPLES

import spectac_fast as sf

SAMPLE = SAMPLES / "ge_tomo_projections_stress.dcm"


@pytest.mark.skipif(not SAMPLE.is_file(), reason="needs ../shared/samples")
def test_rows_that_run_the_other_way_are_seen_in_the_slices(tmp_path):
    def upside_down(ds):
        ds.PixelData = np.ascontiguousarray(frames(ds)[:, ::-1]).tobytes()

    path = tmp_path / "tomo.dcm"
    path.write_bytes(SAMPLE.read_bytes())
    contradicted = [[note for note in sf.reconstruct(path, planes=("SA",)).notes if "contradicts its header" in note]]
    edited(path, upside_down)
    contradicted += [[note for note in sf.reconstruct(path, planes=("SA",)).notes if "contradicts its header" in note]]
    assert [len(notes) for notes in contradicted] == [0, 1]
    assert "the liver seems to lie above the heart" in contradicted[1][0]
