"""How wrong a correction is expected to be, where the truth is a rule that the fit does not know."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from fake_population import expected_error, shells

from spectac_fast.cohort.expected_error import (
    FEATURES,
    OF_THE_CHANGE,
    OF_THE_STUDY,
    Expectation,
    describe_correction,
    kernel,
    read_expected_error,
    scaled,
    write_expected_error,
)
from spectac_fast.data.facts import StudyFacts
from spectac_fast.errors import InputError

MM = (6.8, 6.8, 6.8)


@pytest.fixture(scope="module")
def known():
    return expected_error()


def change_of(features):
    return dict(zip(FEATURES, features))


def test_the_kernel_is_one_number_at_a_time(rng):
    a, b = rng.normal(size=(4, 7)), rng.normal(size=(3, 7))
    for i, j in np.ndindex(4, 3):
        squared = sum((a[i, k] - b[j, k]) ** 2 for k in range(7))
        along = sum(a[i, k] * b[j, k] for k in range(7))
        expected = math.exp(-squared / (2 * 7 * 0.6**2)) + 0.3 * along / 7
        assert kernel(a, b, 0.6, 0.3)[i, j] == pytest.approx(expected, rel=1e-10)


def test_what_headers_say_counts_twice_and_only_where_they_say_it(known):
    stack = shells(np.random.default_rng(4))
    silent = describe_correction(stack, stack, stack, MM, known.process.template)
    said = describe_correction(stack, stack, stack, MM, known.process.template, StudyFacts(male=True, arc=360.0))
    of = slice(-len(OF_THE_STUDY), None)
    assert np.isnan(silent[of]).all()
    np.testing.assert_array_equal(said[of], [1.0, np.nan, np.nan, 1.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(said[: of.start], silent[: of.start])
    nothing, one = np.zeros(len(FEATURES)), np.ones(len(FEATURES))
    np.testing.assert_array_equal(scaled(one, nothing, one), [1.0] * (len(FEATURES) - 7) + [2.0] * 7)


def test_what_was_measured_is_expected_again(known):
    for at, (corrected, uncorrected) in zip(known.features, known.errors):
        found = known.process.of(at)
        assert found.corrected == pytest.approx(corrected, rel=0.02)
        assert found.uncorrected == pytest.approx(uncorrected, rel=0.02)


def test_a_feature_that_is_not_known_counts_as_usual(known):
    at = known.features[0].copy()
    usual = at.copy()
    at[-1], usual[-1] = np.nan, known.process.means[-1]
    assert known.process.of(at) == known.process.of(usual)
    assert np.isfinite(scaled(np.full(len(FEATURES), 1e30), known.process.means, known.process.scales)).all()


def test_the_change_is_described_by_its_slopes():
    nc = shells(np.random.default_rng())
    z, y, x = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * 6.8 / 60 for n in nc.shape), indexing="ij")
    gain = np.exp(0.3 - 0.2 * y + 0.1 * x + 0.05 * z)
    ac = (nc + 1) * gain - 1
    found = change_of(describe_correction(nc, ac, ac, MM, np.zeros((7, 9, 9))))
    expected = {"gain_up": 0.2, "gain_lateral": 0.1, "gain_base": 0.05, "gain_outwards": 0.0}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-3)
    assert found["gain_spread"] > 0
    assert math.isnan(found["apart"])
    assert set(OF_THE_CHANGE) <= set(found)
    apart = change_of(describe_correction(nc, ac * 1.02, ac, MM, np.zeros((7, 9, 9))))["apart"]
    assert math.exp(apart) < 0.1


@pytest.mark.parametrize("stack", [np.full((9, 20, 20), -1.0), np.full((1, 3, 3), 0.5), np.full((9, 20, 20), np.nan)])
def test_images_of_nothing_are_described_too(known, stack):
    features = describe_correction(stack, stack, stack, MM, known.process.template)
    found = known.process.of(features)
    assert math.isfinite(found.corrected)
    assert math.isfinite(found.uncorrected)


def test_each_limit_has_its_sentence(known):
    nc = shells(np.random.default_rng())
    ac = (nc + 1) * 1.5 - 1

    def said(**limits):
        given = dataclasses.replace(known.process, limits=(limits.get("most", 1e9), limits.get("ratio", 1e9)))
        return given.warning(Path("night/a.dcm"), given.of_images(nc, ac, ac, MM))

    assert said() is None
    assert "night/a.dcm: the correction is likely no better than none (segments are expected" in said(ratio=-1e9)
    assert "night/a.dcm: the correction is expected to be less exact than usual (seg" in said(most=0)
    # What harms is said before what is merely less exact.
    assert "no better than none" in said(most=0, ratio=-1e9)


@pytest.mark.parametrize(
    ("corrected", "uncorrected", "nothing"),
    [(8.4, 0.3, True), (4.3, 1.4, True), (2.7, 1.4, False), (4.0, 2.0, False), (9.2, 1.8, False), (0.5, 0.4, False)],
)
def test_nothing_is_left_to_correct_where_nc_is_near_and_the_correction_is_not(corrected, uncorrected, nothing):
    assert Expectation(corrected, uncorrected).nothing_to_correct is nothing


def test_the_file_is_the_process(known, tmp_path):
    path = tmp_path / "w.expected.npz"
    write_expected_error(path, known.process)
    again = read_expected_error(path, "w")
    for at in known.features[:5]:
        assert again.of(at).corrected == pytest.approx(known.process.of(at).corrected, rel=1e-2)
    assert again.limits == known.process.limits
    assert read_expected_error(path, "of other weights") is None
    assert read_expected_error(tmp_path / "absent.npz", "w") is None


@pytest.mark.parametrize(
    "change",
    [
        {"weights": np.zeros((3, 2))},
        {"means": np.full(len(FEATURES), np.nan)},
        {"length": 0.0},
        {"slope": -1.0},
        {"limits": (1.0,)},
    ],
)
def test_a_file_that_does_not_fit_together_is_refused(known, tmp_path, change):
    path = tmp_path / "w.expected.npz"
    write_expected_error(path, dataclasses.replace(known.process, **change))
    with pytest.raises(InputError, match=r"w\.expected\.npz: expected an expected error"):
        read_expected_error(path, "w")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"{}"])
def test_a_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "w.expected.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected an expected error"):
        read_expected_error(path, "w")
