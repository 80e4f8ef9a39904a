"""What the spread of a model's samples says of a series, against a population of known spread."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from fake_population import MM, known, population
from fake_study import Times, heart, write_nc
from scipy.stats import norm

from spectac_fast.cohort.population import read_population, to_json
from spectac_fast.correct import Corrector
from spectac_fast.data.scale import heart_mask
from spectac_fast.data.spread import central_slices, heart_spread, spread_population
from spectac_fast.errors import InputError
from spectac_fast.models.uncertainty import Calibration


def test_the_spread_of_a_stack_is_that_of_its_heart():
    shape = (29, 40, 40)
    spread = np.random.default_rng().uniform(0.1, 3.0, shape)
    taken = central_slices(len(spread), MM[0])
    assert taken.tolist() == [11, 14, 17]
    inside = spread[taken][heart_mask(shape, MM)[taken]]
    assert heart_spread(spread[taken], shape, MM) == pytest.approx(np.sqrt(np.mean(inside**2)), rel=1e-12)
    far = np.where(heart_mask(shape, MM), spread, 100.0)[taken]
    assert heart_spread(far, shape, MM) == heart_spread(spread[taken], shape, MM)
    assert central_slices(1, 6.8).tolist() == [0]
    assert central_slices(4, -20.0).tolist() == [1, 2, 3]


def test_so_large_a_share_of_a_population_lies_beyond_its_limits(tmp_path):
    spread = known(share=0.1)
    drawn = np.exp(math.log(0.1) + 0.2 * norm.ppf((np.arange(999) + 0.5) / 999))
    warned = [spread.warning(tmp_path, "SA", value) is not None for value in drawn]
    assert np.mean(warned) == pytest.approx(0.1, abs=0.005)
    # Both ends alike.
    assert abs(sum(warned[:500]) - sum(warned[500:])) <= 1
    assert "further apart" in spread.warning(tmp_path, "VLA", 0.2)
    assert "closer together" in spread.warning(tmp_path, "SA", 0.05)
    assert "expected 3.6 to 6.9 %" in spread.warning(tmp_path, "SA", 0.05)
    assert spread.warning(tmp_path, "SA", 0.0)
    assert spread.warning(tmp_path, "SA", math.nan)


def test_it_holds_for_the_weights_it_was_measured_with(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps(to_json(population())))
    again = read_population(path, "w").spread
    assert again.score("SA", 0.15) == pytest.approx(known().score("SA", 0.15), abs=1e-3)
    assert (again.samples, again.limit) == (4, pytest.approx(known().limit, abs=1e-4))
    assert read_population(path, "other").spread is None
    assert read_population(path, "other").planes.keys() == {"SA"}
    content = json.loads(path.read_text())
    content["spread"]["log_mean_and_deviation"]["SA"] = [0.0, -1.0]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"p\.json: expected a population"):
        read_population(path, "w")
    with pytest.raises(ValueError, match="at least 20 series, found 3"):
        spread_population({"SA": [0.1] * 3}, 0.1, samples=4, weights="")


class Spread(Times):
    """Samples lie 0.4 of the counts, in model units, about the image; the deviation is twice as much, and a floor."""

    calibration = Calibration(2.0, 0.05, measured=True)

    def moments(self, nc, seeds=None, *, samples, neighbours=None, **options):
        return self.translate(nc, seeds), 0.4 * (nc + 1)

    def single_sample(self, **options):
        return False


@pytest.mark.parametrize("settings", [{"uncertainty": 4}, {"uncertainty": 2}, {"uncertainty": 4, "steps": 3}, {}])
def test_a_run_with_deviations_says_whose_samples_lie_far_apart(tmp_path, caplog, settings):
    write_nc(tmp_path / "SA.dcm", heart(np.random.default_rng(7), (12, 40, 40)))
    (plain,) = Corrector(Spread(), batch_size=4, uncertainty=4).map([tmp_path])
    model = Spread()
    model.population = population()
    (result,) = Corrector(model, batch_size=4, **settings).map([tmp_path])
    found = [text for text in result.warnings if "samples lie" in text]
    # Too few samples, or drawn in another way, are not judged by a population of four.
    assert len(found) == (settings == {"uncertainty": 4})
    if found:
        deviation = (
            plain.uncertainty[0]
            * 2.0
            / np.percentile(result.study.series[0].counts[heart_mask((12, 40, 40), MM)], 99.5)
        )
        taken = central_slices(12, 6.8)
        expected = math.sqrt(heart_spread(deviation[taken], deviation.shape, MM) ** 2 - 0.05**2) / 2.0
        assert "SA.dcm: the model's samples lie further apart" in found[0]
        assert f"in the heart region {50 * expected:.1f} % of the scale" in found[0]
        assert found[0] in caplog.text
