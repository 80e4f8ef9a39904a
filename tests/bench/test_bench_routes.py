"""The arithmetic of `python -m bench routes`: what is measured of images, and the page of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.evidence.routes.page import page
from bench.evidence.routes.patients import CT, EXACT, PREDICTED, _errors, breath, routes
from bench.evidence.routes.routes import evaluate
from bench.pages.mumap_card import card

SEEDS, BREATHS = range(600_000, 600_006), (10.0,)


@pytest.fixture
def measured():
    """Every route is off by its own number of percent everywhere, the truth by none."""
    rng = np.random.default_rng(4)
    names = routes(BREATHS)
    out = []
    for _ in SEEDS:
        true = rng.uniform(50, 90, (1, 2, 17))
        off = np.array([*range(len(names)), 0, 0])[:, None, None]
        level = np.arange(len(names))[:, None] * np.ones(2)
        out.append({"segments": true + off, "rmse": level, "fitted": level / 2, "map": np.full((2, 3), 0.03)})
    return out


def test_every_route_is_compared_with_every_reference(measured):
    found = evaluate(SEEDS, "hanoi", measured, BREATHS)
    names = routes(BREATHS)
    for k, name in enumerate(names):
        row = found["rows"][name]
        assert row["segments to truth"] == pytest.approx([k, k, k])
        assert row[f"segments to {CT}"][0] == pytest.approx(abs(k - names.index(CT)))
        assert row["rmse"][0] == pytest.approx(k)
        assert row["fitted rmse"][0] == pytest.approx(k / 2)
    away = names.index(PREDICTED) - names.index(breath(10.0))
    assert found["minus"][f"{PREDICTED} minus {breath(10.0)}, to truth"] == pytest.approx([away] * 3)
    assert found["defects"] > 0
    assert found["map"]["body nmae"] == pytest.approx([0.03] * 3)


def test_the_page_says_what_was_reached(measured):
    table = {
        "command": "python -m bench routes",
        "commit": "abc",
        "seeds": [SEEDS.start, SEEDS.stop - 1],
        "maps_sha256": "1" * 64,
        "model": "bbdm",
        "weights_sha256": "2" * 64,
        "routes": routes(BREATHS),
        "protocols": {"hanoi": evaluate(SEEDS, "hanoi", measured, BREATHS)},
    }
    text = page(json.loads(json.dumps(table)))
    assert "`python -m bench routes` at commit abc; seeds 600000 to 600005" in text
    assert "mu in the body 0.03 (goal 0.02: missed)" in text
    assert f"segments to truth beyond {CT}'s -1 (goal 0.2: reached)" in text
    assert f"| {EXACT} | 1.00 [1.00, 1.00] | 0.00 [0.00, 0.00] |" in text


def test_errors_of_counts_know_the_best_factor():
    rng = np.random.default_rng(5)
    ideal = rng.uniform(100, 200, (2, 29, 64, 64))
    as_they_are, fitted = _errors(2.0 * ideal, ideal, (6.8, 6.8, 6.8))
    assert as_they_are == pytest.approx([75, 75], rel=0.1)
    assert fitted == pytest.approx([0, 0], abs=1e-6)


def test_the_card_of_the_maps_takes_its_figures_from_files(measured):
    routes_table = {"seeds": [600_000, 600_005], "protocols": {"hanoi": evaluate(SEEDS, "hanoi", measured, BREATHS)}}
    errors = {"nmae": 0.051, "heart_nmae": 0.04, "survival": 0.03}
    trained = {
        "data": {"training_seeds": [[60_000, 60_139]], "cases": 140, "slices": 9},
        "parameters": 824_091,
        "recipe": {"name": "native64"},
        "seed": 0,
        "steps": 7,
        "minutes": 42.3,
        "validation": {"uniform": errors, "as_shipped": {**errors, "nmae": 0.0321}},
    }
    text = card(trained, routes_table)
    assert "seeds 60000-60139" in text
    assert "| as_shipped | 3.2 % | 4.0 % | 3.0 % |" in text
    away = routes(BREATHS).index(PREDICTED)
    assert f"{away:.2f} to truth (CT-AC as acquired {away + 1:.2f})" in text
