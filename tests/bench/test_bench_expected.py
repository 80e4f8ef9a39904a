"""The fit of expected errors, on studies whose errors follow a rule."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest
from fake_cohort import FakeIdealCohort, FakeTranslator
from fake_population import population

from bench.evidence.expected import expected, fit, page
from bench.evidence.expected import studies as stored
from spectac_fast.cohort.expected_error import FEATURES, read_expected_error
from spectac_fast.evaluate.regional.segments import segment_means
from spectac_fast.evaluate.regional.ventricle import Ventricle
from spectac_fast.evaluate.table.variants import expand

SHAPE = fit.Shape(1.0, 0.3, 0.1)


def studies_of(rng, patients=80):
    """Two studies a patient, whose corrected error is told by one feature and NC's by another."""
    features = rng.normal(size=(2 * patients, len(FEATURES)))
    errors = np.exp(np.column_stack([0.8 + 0.7 * np.tanh(features[:, 3]), 1.2 + 0.5 * features[:, 8]]))
    names = np.where(np.arange(2 * patients) % 5 == 0, "no-attenuation", "random")
    return stored.Studies(features, errors, np.repeat(np.arange(patients), 2), names)


def rows_of(**options):
    made = FakeTranslator("regression", **options)
    made.weights_sha256, made.population = "ab" * 32, population()
    return expand(["m"], lambda _: made, steps=1, samples=1)


def test_what_is_expected_of_unseen_patients_follows_the_rule():
    studies = studies_of(np.random.default_rng())
    found = fit.unseen(studies, SHAPE)
    for k in range(2):
        assert np.corrcoef(found[:, k], np.log(studies.errors[:, k]))[0, 1] > 0.5
    assert fit.auc(found[:, 0] - found[:, 1], fit.harmful(studies)) > 0.75
    # A patient of a fold tells nothing of himself: with his own error changed, what is expected of him is the same.
    other = stored.Studies(studies.features, studies.errors.copy(), studies.patients, studies.protocols)
    own = studies.patients == 3
    other.errors[own] *= 9
    np.testing.assert_array_equal(fit.unseen(other, SHAPE)[own], found[own])


def test_limits_warn_of_few_that_are_good():
    studies = studies_of(np.random.default_rng(), patients=300)
    found = fit.unseen(studies, SHAPE)
    limit = fit.limits(studies, found)
    fine = fit.good(studies)
    said = fit.warned(found, limit)
    # Above a quantile lie at most its share of the n - 1 steps and one more.
    assert said[fine].mean() <= fit.FALSE_ALARMS + 2 / fine.sum()
    assert said[fit.harmful(studies)].mean() > 2 * said[fine].mean()


@pytest.mark.parametrize(
    ("scores", "positive", "expected_area"),
    [([1, 2, 3, 4], [0, 0, 1, 1], 1.0), ([1, 2, 3, 4], [1, 1, 0, 0], 0.0), ([5, 5, 5], [1, 0, 0], 0.5)],
)
def test_the_area_is_that_of_ranks(scores, positive, expected_area):
    assert fit.auc(np.array(scores, float), np.array(positive, bool)) == expected_area
    assert np.isnan(fit.auc(np.array(scores, float), np.ones(len(scores), bool)))


def test_studies_are_described_once_with_their_errors(tmp_path):
    cohort = FakeIdealCohort(3, cases=2)
    rows = rows_of(slope=1.1)
    single, combined = expected.single_and_combined(rows)
    template = population().planes["SA"].template
    found = stored.described(tmp_path, "random", cohort, single, combined, template)
    assert [(row["seed"], row["phase"]) for row in found] == [
        (seed, phase) for seed in cohort.seeds for phase in ("stress", "rest")
    ]
    nc, ac = cohort.pair(1, "rest", "SA")
    at = Ventricle.of_phantom(cohort.cases[1]["lv"])
    wanted, own = (segment_means(stack, at, cohort.spacing_mm) for stack in (ac, nc))
    assert found[3]["uncorrected"] == pytest.approx(np.abs(own - wanted).mean())
    assert len(found[0]["features"]) == len(FEATURES)
    # From the file the second time, whatever the images have become.
    assert stored.described(tmp_path, "random", FakeIdealCohort(9, cases=2), single, combined, template) == found


def test_the_command_fits_stores_and_tells(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng()
    many = studies_of(rng, patients=40)
    rows = [
        {"seed": int(p), "phase": "stress", "features": list(f), "corrected": e[0], "uncorrected": e[1]}
        for p, f, e in zip(many.patients, many.features, many.errors)
    ]
    monkeypatch.setattr(expected, "_described", lambda *_: {"random": rows[:60], "no-attenuation": rows[60:]})
    monkeypatch.setattr(expected, "_rows", lambda *_: expected.single_and_combined(rows_of()))
    weights = tmp_path / "w.safetensors"
    weights.touch()
    args = argparse.Namespace(model=str(weights), device="cpu", store=True, out=tmp_path / "results")
    assert expected.run(args) == 0
    said = capsys.readouterr().out
    assert "| no-attenuation |" in said
    facts = json.loads((tmp_path / "results" / "expected.json").read_text())
    known = read_expected_error(tmp_path / "w.expected.npz", "ab" * 32)
    assert known.limits == tuple(facts["limits"])
    shape = fit.Shape(**facts["shape"])
    expectation = np.exp(fit.expected(stored.gathered({"all": rows}), many.features[:1], shape))[0]
    found = known.of(many.features[0])
    assert (found.corrected, found.uncorrected) == pytest.approx(tuple(expectation), rel=0.02)
    assert (tmp_path / "results" / "expected.png").stat().st_size > 1000
    assert page.page(facts) == (tmp_path / "results" / "expected.md").read_text()
