"""The arithmetic of `python -m bench clinical`: deficits, ROC, and the study it corrects."""

import numpy as np
import pytest
from fake_study import Times, heart
from scipy.stats import mannwhitneyu

from bench.evidence.clinical import detect as detect
from bench.evidence.clinical.cases import corrected_sa, kept, nc_study

CASES = [{"sex": sex} for sex in "FM" * 20]


def test_deficit_is_nothing_of_normals_and_all_of_an_empty_heart():
    rng = np.random.default_rng()
    maps = 80 + rng.normal(0, 3, (40, 2, 24, 72))
    normal = detect.limits(maps, CASES)
    assert normal.patients == {"F": 20, "M": 20}
    np.testing.assert_allclose(normal.mean["F"], maps[::2].mean(0))
    usual, empty, half = (np.full((1, 2, 24, 72), level) for level in (80.0, 0.0, 80.0))
    half[:, :, :, :36] *= 1 - 0.35
    one = CASES[:1]
    assert detect.deficits(usual, one, normal) == pytest.approx(0)
    assert detect.deficits(empty, one, normal) == pytest.approx(100)
    # Half of the area, with half of the loss that weighs most.
    assert detect.deficits(half, one, normal) == pytest.approx(25, abs=0.5)
    base, apex = usual.copy(), usual.copy()
    base[:, :, :6], apex[:, :, 18:] = 0, 0
    assert (detect.deficits(base, one, normal) > 2 * detect.deficits(apex, one, normal)).all()


def test_area_under_the_curve_is_that_of_the_rank_test():
    rng = np.random.default_rng()
    ill = rng.integers(0, 2, 60)
    score = np.round(rng.normal(ill, 1.0), 1)
    expected = mannwhitneyu(score[ill == 1], score[ill == 0]).statistic / (ill.sum() * (1 - ill).sum())
    assert detect.area(score, ill) == pytest.approx(expected)
    fall_out, sensitivity = detect.roc(score, ill)
    assert np.trapezoid(sensitivity, fall_out) == pytest.approx(expected)
    assert (fall_out[[0, -1]] == [0, 1]).all()
    assert (sensitivity[[0, -1]] == [0, 1]).all()


def test_detection_is_paired_and_has_intervals():
    rng = np.random.default_rng()
    ill = np.repeat(rng.integers(0, 2, 40)[:, None], 2, axis=1)
    ill[0], ill[1] = 0, 1
    ill[2] = -1
    good = rng.normal(3.0 * ill, 1.0)
    scores = {"AC": good, "corrected": good, "NC": rng.normal(0, 1, ill.shape)}
    indices = rng.integers(0, 40, (300, 40))
    found = detect.detection(scores, dict.fromkeys(scores, 1.5), ill, indices)
    assert found["corrected"]["auc_minus_ac"] == [0, 0, 0]
    assert found["AC"]["sensitivity"][0] == (good[ill == 1] > 1.5).mean()
    assert found["AC"]["specificity"][0] == (good[ill == 0] <= 1.5).mean()
    value, low, high = found["AC"]["auc"]
    assert low <= value <= high
    assert found["NC"]["auc"][0] < value


def test_who_is_ill():
    def case(*losses):
        return {"defects": [{"loss": dict(zip(("stress", "rest"), loss))} for loss in losses]}

    found = detect.truth([case(), case((0.5, 0.0)), case((0.1, 0.0), (0.0, 0.3))])
    assert found.tolist() == [[0, 0], [1, -1], [-1, 1]]


def test_planes_of_a_patient_are_one_study(tmp_path):
    rng = np.random.default_rng()
    stacks = {(phase, plane): heart(rng) for phase in ("stress", "rest") for plane in ("SA", "VLA", "HLA")}
    study = nc_study(stacks, (6.8, 6.8, 6.8))
    for series in study.series:
        row, column = np.array(series.orientation[:3]), np.array(series.orientation[3:])
        step = np.stack([6.8 * np.cross(row, column), 6.8 * column, 6.8 * row])
        middle = [(n - 1) / 2 for n in series.counts.shape] @ step + series.position
        np.testing.assert_allclose(middle, 0, atol=1e-9)
    assert len({series.frame_of_reference for series in study.series}) == 2
    corrected = corrected_sa(stacks, (6.8, 6.8, 6.8), Times(2.0))
    np.testing.assert_allclose(corrected["rest"], 2 * stacks["rest", "SA"], rtol=1e-5)

    def make():
        made.append(1)
        return {"a": np.arange(3)}

    made = []
    for _ in range(2):
        np.testing.assert_array_equal(kept(tmp_path / "deep" / "a.npz", make)["a"], [0, 1, 2])
    assert made == [1]
