"""NC at its best scale, one count factor per study, harm to single patients, and IDEAL as a second reference."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from fake_cohort import PHASES, PLANES, FakeCohort, FakeIdealCohort, FakeTranslator

from spectac_fast.data.scale import heart_mask
from spectac_fast.evaluate.table import floor, render, table, variants
from spectac_fast.evaluate.table.metrics import SeriesPair, best_factor, rescaled, score_patient
from spectac_fast.evaluate.table.score import score_cohort

GAIN = 1.75


@pytest.fixture(scope="module")
def evaluated():
    cohort = FakeIdealCohort(5, cases=4)
    models = {
        "identity": FakeTranslator("identity"),
        "linear": FakeTranslator("linear", slope=1.05, intercept=0.05),
        # Hardly any counts, so worse than NC in everyone; and NC with other units.
        "regression": FakeTranslator("regression", slope=0.1, intercept=-0.9),
        "pix2pix": FakeTranslator("pix2pix", slope=0.5, intercept=-0.5),
    }
    rows = variants.separate(variants.expand(list(models), models.__getitem__, steps=1, samples=1))
    scores = score_cohort(cohort, rows)
    return cohort, scores, table.build(scores, cohort.cases, seed=3, resamples=2000)


def hearts(cohort, i, image):
    """(NC, another image) of a patient's hearts in the units of the table's AC, counts 0 at 0."""
    found = []
    for phase in PHASES:
        white = cohort.scale(i, phase) * GAIN / 2
        for plane in PLANES:
            nc, ac = cohort.pair(i, phase, plane)
            wanted = ac if image == "AC" else cohort.ideal(i, phase, plane)
            inside = heart_mask(nc.shape, cohort.spacing_mm)
            found.append([nc[inside] * GAIN / white, wanted[inside] / white])
    return np.concatenate(found, axis=1).astype(np.float64)


def test_the_best_factor_is_the_least_squares_solution(rng):
    heart = rng.random((3, 12, 12)) > 0.5
    pairs = [SeriesPair(*rng.random((2, 3, 12, 12)), heart) for _ in range(2)]
    found, wanted = (np.concatenate([1 + getattr(p, n)[heart] for p in pairs]) for n in ("prediction", "reference"))
    (expected,), *_ = np.linalg.lstsq(found[:, None], wanted, rcond=None)
    assert best_factor(pairs) == pytest.approx(expected, rel=1e-10)
    scores = score_patient(pairs)
    after = np.sqrt(np.mean((expected * found - wanted) ** 2))
    assert scores.heart.rescaled_rmse == pytest.approx(after, rel=1e-10)
    assert scores.heart.rescaled_rmse <= scores.heart.rmse
    # What no one knows from NC does not matter any more.
    other = score_patient([rescaled(pair, 3.0) for pair in pairs])
    assert other.heart.rescaled_rmse == pytest.approx(scores.heart.rescaled_rmse, rel=1e-9)
    empty = SeriesPair(np.full((3, 12, 12), -1.0), pairs[0].reference, heart)
    assert best_factor([empty]) == 1.0


@pytest.mark.parametrize("kind", ["AC", "IDEAL"])
def test_nc_at_its_best_scale_is_the_floor(evaluated, kind):
    cohort, _, numbers = evaluated
    rmse = []
    for i in range(len(cohort)):
        nc, wanted = hearts(cohort, i, kind)
        rmse.append(np.sqrt(np.mean((nc * (nc @ wanted) / (nc @ nc) - wanted) ** 2)))
    cells = numbers["floor"][kind]
    assert cells["heart"]["rmse"]["value"] == pytest.approx(np.mean(rmse), rel=1e-5)
    assert cells["errors"]["rmse_over_floor"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert cells["errors"]["worse"] == 0
    rows = {row["label"]: row["floor"][kind] for row in numbers["rows"]}
    for label in ("identity", "pix2pix"):
        assert rows[label]["rescaled_rmse_over_floor"]["value"] == pytest.approx(1.0, rel=1e-5)
        assert rows[label]["worse"] == len(cohort)
    assert rows["pix2pix"]["rmse_over_floor"]["value"] > rows["identity"]["rmse_over_floor"]["value"]


def test_harm_is_counted_patient_by_patient(evaluated):
    cohort, scores, numbers = evaluated
    for result, row in zip(scores.rows, numbers["rows"], strict=True):
        ratios = [own.heart.rmse / nc.heart.rmse for own, nc in zip(result.patients, scores.floor["AC"], strict=True)]
        found = row["floor"]["AC"]
        assert found["worse"] == sum(ratio > 1 for ratio in ratios)
        assert found["worst"]["ratio"] == pytest.approx(max(ratios))
        assert found["worst"]["patient"] == cohort.cases[int(np.argmax(ratios))]["seed"]


def test_ac_has_an_error_of_its_own_to_the_ideal_image(evaluated):
    cohort, scores, numbers = evaluated
    rmse = []
    for i in range(len(cohort)):
        squares = []
        for phase in PHASES:
            for plane in PLANES:
                difference = cohort.pair(i, phase, plane)[1] - cohort.ideal(i, phase, plane)
                inside = heart_mask(difference.shape, cohort.spacing_mm)
                squares.append((difference[inside].astype(np.float64) * 2 / (cohort.scale(i, phase) * GAIN)) ** 2)
        rmse.append(np.sqrt(np.mean(np.concatenate(squares))))
    own = numbers["ac_to_ideal"]
    assert own["rmse"]["value"] == pytest.approx(np.mean(rmse), rel=1e-4)
    assert own["nearer_than_ac"] == 0
    away = np.abs(scores.segments["AC"] - scores.segments["IDEAL"]).mean()
    assert own["segments"]["value"] == pytest.approx(away)
    assert all(row["floor"]["IDEAL"]["nearer_than_ac"] == 0 for row in numbers["rows"])
    indices = np.zeros((2000, len(cohort)), int)
    nearer = floor.errors(scores.ac_to_ideal, scores.floor["IDEAL"], scores.rows[2].ideal, cohort.cases, indices)
    assert nearer["nearer_than_ac"] == len(cohort)


def test_the_floor_stands_beside_the_rows(evaluated):
    _, _, numbers = evaluated
    text = render.markdown(numbers)
    for line in text.splitlines():
        assert line.count("|") in (0, 1) or line.startswith("|")
    lines = [line.split(" | ")[0].strip("| ") for line in text.splitlines() if line.startswith("|")]
    assert lines.count(floor.LABEL) == 4
    assert lines.index(floor.LABEL) == lines.index("linear") + 1
    assert "AC as acquired" in lines
    shown = render.terminal(render.pooled_values(numbers)).splitlines()
    assert [line.split("  ")[0] for line in shown[2:5]] == ["identity", "linear", floor.LABEL]
    written = list(csv.reader(io.StringIO(table.as_csv(numbers))))
    assert ["AC as acquired", "heart, to IDEAL", "worse", "0", "", ""] in written
    assert {line[1] for line in written if line[0] == floor.LABEL} == {"heart, to AC", "heart, to IDEAL"}


def test_a_cohort_without_the_ideal_image_has_one_reference():
    cohort = FakeCohort(6, cases=2)
    rows = [variants.Row("identity", FakeTranslator("identity"))]
    numbers = table.build(score_cohort(cohort, rows), cohort.cases, seed=0, resamples=2000)
    assert set(numbers["floor"]) == set(numbers["rows"][0]["floor"]) == {"AC"}
    assert numbers["ac_to_ideal"] is None
    assert "IDEAL" not in render.markdown(numbers)
