"""What is told of series that a model was not trained for."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fake_study import Times, heart, write_nc

from spectac_fast.cohort.population import FEATURES, Population, describe, plane_population, read_population, to_json
from spectac_fast.correct import Corrector, Report, carry_out
from spectac_fast.data.scale import count_scale, to_model
from spectac_fast.errors import InputError

MM = (6.8, 6.8, 6.8)


def stack(rng):
    """A shell brighter at one end, on one side and at the top, so that every turn of it shows."""
    counts = heart(rng, (15, 24, 24), peak=rng.uniform(300, 900))
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in counts.shape), indexing="ij")
    return counts * np.exp(0.5 * z + 0.4 * y - 0.3 * x).astype(np.float32)


def seen(rng):
    counts = stack(rng)
    return to_model(counts, count_scale(counts, MM)), MM


@pytest.fixture(scope="module")
def population():
    rng = np.random.default_rng(1)
    return Population({"SA": plane_population([seen(rng) for _ in range(120)], 0.01)}, "shells")


def test_series_of_the_population_are_no_news(population):
    rng = np.random.default_rng()
    scores = [population.score("SA", *seen(rng)) for _ in range(40)]
    # The root mean square of a Mahalanobis distance over the root of the number of features is 1.
    assert 0.8 < np.sqrt(np.mean([score**2 for score, _, _ in scores])) < 1.6
    assert np.mean([score > limit for score, limit, _ in scores]) < 0.25


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda x: (x[::-1], MM), {"slices_order", "slice_centre"}),
        (lambda x: (x[:, ::-1], MM), {"rows_order", "row_centre"}),
        (lambda x: (x[:, :, ::-1], MM), {"columns_order", "column_centre"}),
        (lambda x: (x, (6.8, 4.0, 4.0)), set(FEATURES)),
        (lambda x: (np.random.default_rng(0).uniform(-1, 1, x.shape), MM), set(FEATURES)),
        (lambda x: (np.full_like(x, -1.0), MM), set(FEATURES)),
        (lambda x: (np.full_like(x, np.nan), MM), {"likeness"}),
    ],
)
def test_what_is_foreign_is_named(population, change, named):
    score, limit, strange = population.score("SA", *change(seen(np.random.default_rng())[0]))
    assert score > 1.5 * limit
    assert strange in named


def test_features_do_not_depend_on_the_units_of_counts(population):
    counts = stack(np.random.default_rng())
    few, many = (
        describe(to_model(k * counts, count_scale(k * counts, MM)), MM, population.planes["SA"].template)
        for k in (1, 7)
    )
    np.testing.assert_allclose(few, many, rtol=1e-4, atol=1e-5)


def test_the_file_is_the_population(population, tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(to_json(population)))
    again = read_population(tmp_path / "p.json")
    given = seen(np.random.default_rng())
    assert again.score("SA", *given)[0] == pytest.approx(population.score("SA", *given)[0], rel=1e-2)
    assert read_population(tmp_path / "absent.json") is None


@pytest.mark.parametrize(
    "change", [{"format": 9}, {"features": ["size"]}, {"planes": {}}, {"planes": {"SA": {"mean": 1}}}]
)
def test_a_damaged_file_is_refused(population, tmp_path, change):
    (tmp_path / "p.json").write_text(json.dumps({**to_json(population), **change}))
    with pytest.raises(InputError, match=r"p\.json: expected a population"):
        read_population(tmp_path / "p.json")
    with pytest.raises(ValueError, match="at least 45 series, found 3"):
        plane_population([seen(np.random.default_rng()) for _ in range(3)], 0.01)


def test_a_run_warns_in_a_sentence_and_lists_it(population, tmp_path, caplog):
    rng = np.random.default_rng(5)
    write_nc(tmp_path / "in" / "a.dcm", np.round(stack(rng)), study_key="a")
    write_nc(tmp_path / "in" / "b.dcm", np.round(stack(rng))[::-1], study_key="b")
    model, report = Times(), Report()
    model.population = population
    corrector = Corrector(model, batch_size=8)
    carry_out(corrector, corrector.plan([tmp_path / "in"], tmp_path / "out"), report)
    report.write(tmp_path / "run.json", corrector)
    first, second = json.loads((tmp_path / "run.json").read_text())["studies"]
    assert first["warnings"] == []
    assert len(second["warnings"]) == 1
    assert "b.dcm: unlike what the model was trained on (score " in second["warnings"][0]
    assert second["warnings"][0] in caplog.text
    assert len(report.written) == 2
