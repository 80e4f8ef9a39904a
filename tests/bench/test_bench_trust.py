"""The benchmarks of calibration, foreign input and explanation, on a cohort of a few shells."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
import torch
from fake_cohort import FakeCohort, FakeTranslator

from bench.evidence import calibration, calibration_page, explain, foreign, foreign_page
from bench.evidence.calibration_planes import Planes
from bench.evidence.foreign_spread import spread_of
from spectac_fast.cohort.population import Population, plane_population
from spectac_fast.data.spread import spread_population
from spectac_fast.evaluate.calibration import LEVELS, Voxels, judge
from spectac_fast.models.registry import load
from spectac_fast.models.uncertainty import Calibration


def test_errors_and_spreads_are_those_of_the_default_image():
    model, cohort = load("bbdm", device="cpu"), FakeCohort(3, cases=1, slices=9, side=32)
    args = argparse.Namespace(phase="stress", stride=6, samples=4)
    half, whole = calibration.patient_voxels(model, cohort, 0, args)
    np.testing.assert_array_equal(half.error, whole.error)
    assert len(whole.spread) == len(whole.error) > 100
    assert np.isfinite(whole.spread).all()
    # Two halves of two samples each: their squares average to that of a half, whatever lies between their means.
    assert 0.5 < np.mean(whole.spread**2) / np.mean(half.spread**2) < 2.0


def test_deviations_of_combined_planes_are_the_mean_of_theirs():
    """Samples as wide as the plane's number: apart each has its own, together every voxel has what lies between."""

    class Wide(FakeTranslator):
        drawn = 0

        def moments(self, nc, seeds=None, *, samples, neighbours=None):
            self.drawn += 1
            return nc, torch.full_like(nc, 0.01 * self.drawn)

    planes = Planes(Wide("wide", slope=1.2), FakeCohort(5, cases=1, slices=9, side=32), 0, "stress", 4)
    apart, together = (planes.voxels(2.0, 0.0, combined=combined) for combined in (False, True))
    np.testing.assert_allclose(np.unique(apart.spread), [0.02, 0.04, 0.06], rtol=1e-6)
    assert together.spread.min() >= 0.02 - 1e-6
    assert together.spread.max() <= 0.06 + 1e-6
    # Where all three meet with full weight it is their mean; errors are averaged as well.
    assert np.isclose(together.spread, 0.04, atol=1e-6).mean() > 0.2
    assert together.error.std() < apart.error.std()


def drawn(rng, expected, known):
    """Patients whose errors are as large as a calibration says of what is expected of them."""
    spreads = [np.exp(rng.normal(-2.5, 0.4, 3000)) for _ in expected]
    voxels = [
        Voxels(1.2 * (1.0 if e is None else known.widening(e)) * s * rng.standard_normal(3000), s)
        for e, s in zip(expected, spreads, strict=True)
    ]
    return calibration.Drawn(voxels, voxels, list(expected), [], [])


def test_a_calibration_that_widens_covers_where_one_for_all_does_not(rng):
    truth = Calibration(exponent=0.8, usual=3.0)
    usual, worse = (drawn(rng, np.exp(rng.normal(np.log(of), 0.4, 20)), truth) for of in (2.0, 5.0))
    both = calibration.Drawn(*([*a, *b] for a, b in zip(vars(usual).values(), vars(worse).values(), strict=True)))
    narrow, final = calibration.fitted(both)
    assert narrow.exponent == 0.0
    assert final.exponent == pytest.approx(0.8, abs=0.1)
    level = LEVELS.index(0.9)
    for one in (usual, worse):
        assert abs(calibration._coverages(one, final)[level] - 0.9) < 0.02
    assert calibration._coverages(usual, narrow)[level] > 0.94
    assert calibration._coverages(worse, narrow)[level] < 0.86
    found = {name: [calibration._coverages(one, known) for known in (narrow, final)]
             for name, one in (("usual", usual), ("worse", worse))}  # fmt: skip
    figures = judge(both.widened(final).whole, final.temperature, final.floor)
    text = calibration_page.page({}, [("test", "wider", final, figures)], final, found, 20)
    assert "cover within 4 points of it under 2 of 2 protocols" in text
    assert "calibration for all studies under 0." in text
    assert f"| worse | {100 * found['worse'][0][0]:.1f} -> {100 * found['worse'][1][0]:.1f} |" in text


def test_of_whom_nothing_is_expected_no_deviation_widens(rng):
    some = drawn(rng, [2.0, None, 4.0, 5.0], Calibration())
    narrow, final = calibration.fitted(some)
    assert narrow == final
    assert final.exponent == 0.0


def test_changes_are_told_from_what_they_change():
    cohort = FakeCohort(4, cases=30, slices=9, side=32)
    stacks = list(foreign._stacks(cohort, range(30), "SA").values())

    class Rough(FakeTranslator):
        """Its samples differ where a slice is rough."""

        def moments(self, nc, seeds=None, *, samples, neighbours=None):
            return nc, (nc - torch.nn.functional.avg_pool2d(nc, 3, 1, 1)).abs()

    model, drawn = Rough("rough"), [(i, "stress") for i in range(20)]
    spreads = {"SA": [spread_of(model, *stack, "") for stack in stacks]}
    spread = spread_population(spreads, 0.02, samples=4, weights="")
    population = Population({"SA": plane_population(stacks, 0.02)}, "", spread)
    rows = {
        kind: foreign._judge(population, cohort, kind, foreign.CHANGES[kind], model, drawn)[0]
        for kind in (foreign.PLAIN, "uniform noise")
    }
    plain, noise = rows.values()
    assert (noise["drawn"], noise["by_input"], noise["by_spread"], noise["by_either"]) == (20, 20, 20, 20)
    assert plain["by_spread"] <= 2
    assert plain["by_either"] <= plain["by_input"] + plain["by_spread"]
    text = foreign_page.page({}, list(rows.values()), 0.02)
    assert f"| uniform noise | {' | '.join(['20 of 20'] * 3)} |" in text
    assert plain["flagged"] == pytest.approx(0.02, abs=0.02)
    assert plain["auc"] == 0.5
    assert (noise["flagged"], noise["auc"]) == (1.0, 1.0)


def test_areas_of_a_map_that_knows():
    """The value is one pixel: a map that names it first reaches the end at once, one that names it last at the end."""
    images = torch.zeros(1, 1, 16, 16)
    images[0, 0, 8, 8] = 1.0
    knows = images[0, 0].clone()
    last = 1.0 - knows
    last += torch.rand(16, 16) * (last > 0)
    deleted, inserted = explain._areas(lambda v: v[:, 0, 8, 8], images, knows)
    assert deleted == pytest.approx(20 / 21, abs=1e-6)
    assert inserted == pytest.approx(1 / 21, abs=1e-6)
    deleted, inserted = explain._areas(lambda v: v[:, 0, 8, 8], images, last)
    assert deleted == pytest.approx(1 / 21, abs=1e-6)
    assert inserted == pytest.approx(20 / 21, abs=1e-6)
