"""Regional uptake: known defects, and normal limits."""

import numpy as np
import pytest
from fake_cohort import LV, PHASES, FakeCohort, defect

from spectac_fast.evaluate import bootstrap
from spectac_fast.evaluate.regional import scores as regional
from spectac_fast.evaluate.regional.normals import limits_of_group
from spectac_fast.evaluate.regional.segments import segment_means
from spectac_fast.evaluate.regional.ventricle import Ventricle

KNOWN = Ventricle.of_phantom(LV)


def test_contrast_of_a_known_defect():
    cases = [{"defects": d} for d in ([defect(stress=0.6)], [], [defect(angle=-100, stress=0.1, rest=0.5)])]
    share = np.array([regional.defect_overlap(c["defects"][0]) if c["defects"] else np.zeros(17) for c in cases])
    assert share[0, 6] > 0.9
    assert share[0, [3, 9, 4]].max() == 0
    assert share[2, 9] > 0.9
    ac = np.full((3, 2, 17), 80.0)
    ac[0, 0, share[0] >= 0.5] = 40
    ac[2, 1, share[2] >= 0.5] = 60
    weak = ac + (80 - ac) / 2
    indices = bootstrap.resample(3, 0, 2000)
    ref = regional.reference(cases, PHASES, weak, ac, ac, indices, None)
    assert [(i, j) for i, j, *_ in ref.defects] == [(0, 0), (2, 1)]
    scores = regional.score(weak, ref)
    assert scores.contrast.value == pytest.approx((0.25 + 0.125) / 2)
    assert scores.contrast_over_ac.value == pytest.approx(0.5)
    assert scores.defects == 2
    assert scores.new_low is None


def test_normal_limits_of_a_larger_group_hold_for_each_sex():
    group = FakeCohort(1, cases=8)
    limits = limits_of_group(group, "the others")
    women = [i for i in range(1, 8) if group.cases[i]["sex"] == "F"]
    ac = np.array([[segment_means(group.pair(i, p, "SA")[1], KNOWN) for p in PHASES] for i in women]).reshape(-1, 17)
    np.testing.assert_allclose(limits.by_sex["F"], ac.mean(0) - 2 * ac.std(0, ddof=1))
    assert limits.group == "4 F and 3 M of the others, each sex its own"

    cases = [{"sex": sex, "defects": []} for sex in "FMF"]
    level = np.stack([limits.by_sex[case["sex"]] for case in cases])[:, None] * np.ones((1, 2, 1))
    ref = regional.reference(cases, PHASES, level, level + 1, level, bootstrap.resample(3, 0, 2000), limits)
    found = level.copy()
    found[1, 0, :5] -= 1e-6
    scores = regional.score(found, ref)
    assert (scores.low, scores.new_low, scores.normal_segments) == (5, 5, 102)
    ref.ac[1, 0, :2] = 0
    assert regional.score(found, ref).new_low == 3
    assert limits_of_group(FakeCohort(2), "few").by_sex == {}
    np.testing.assert_array_equal(limits_of_group(FakeCohort(2), "few").of(cases[:1]), np.full((1, 1, 17), np.nan))
