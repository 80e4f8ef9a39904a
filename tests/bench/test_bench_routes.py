"""The arithmetic of `python -m bench routes`: what is measured of images, and the page of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.evidence.routes.page import page
from bench.evidence.routes.patients import CT, EXACT, PREDICTED, Variant, _errors, breath, case_of, routes
from bench.evidence.routes.readers import areas
from bench.evidence.routes.routes import evaluate
from bench.pages.mumap_card import card

SEEDS, BREATHS = range(600_000, 600_006), (10.0,)
VARIANT = Variant("counts by cunet", {}, None)


@pytest.fixture(params=[(), (VARIANT,)], ids=["measured", "denoised"])
def variants(request):
    return request.param


@pytest.fixture
def measured(variants):
    """Every route is off by its own number of percent everywhere, the truth by none."""
    rng = np.random.default_rng(4)
    names = routes(BREATHS, variants)
    out = []
    for _ in SEEDS:
        true = rng.uniform(50, 90, (1, 2, 17))
        off = np.array([*range(len(names)), 0, 0])[:, None, None]
        level = np.arange(len(names))[:, None] * np.ones(2)
        polar = rng.uniform(50, 90, (len(names) + 2, 2, 24, 72))
        seen = rng.normal(size=(len(names) + 2, 2, 4))
        found = {"segments": true + off, "rmse": level, "fitted": level / 2, "map": np.full((2, 3), 0.03)}
        out.append(found | {"polar": polar, "seen": seen})
    return out


def test_every_route_is_compared_with_every_reference(measured, variants):
    found = evaluate(SEEDS, "hanoi", measured, BREATHS, variants)
    names = routes(BREATHS, variants)
    for k, name in enumerate(names):
        row = found["rows"][name]
        assert row["segments to truth"] == pytest.approx([k, k, k])
        assert row[f"segments to {CT}"][0] == pytest.approx(abs(k - names.index(CT)))
        assert row["rmse"][0] == pytest.approx(k)
        assert row["fitted rmse"][0] == pytest.approx(k / 2)
    away = names.index(PREDICTED) - names.index(breath(10.0))
    assert found["minus"][f"{PREDICTED} minus {breath(10.0)}, to truth"] == pytest.approx([away] * 3)
    for variant in variants:
        nc, ac = variant.rows
        away = names.index(ac) - names.index(PREDICTED)
        assert found["minus"][f"{ac} minus {PREDICTED}, to truth"] == pytest.approx([away] * 3)
        away = names.index(nc) - names.index("NC")
        assert found["minus"][f"{nc} minus NC, to IDEAL"] == pytest.approx([away] * 3)
    assert found["defects"] > 0
    assert found["map"]["body nmae"] == pytest.approx([0.03] * 3)


def test_the_page_says_what_was_reached(measured, variants):
    table = {
        "command": "python -m bench routes",
        "commit": "abc",
        "seeds": [SEEDS.start, SEEDS.stop - 1],
        "maps_sha256": "1" * 64,
        "model": "bbdm",
        "weights_sha256": "2" * 64,
        "routes": routes(BREATHS, variants),
        "networks": {each.words: "3" * 64 for each in variants},
        "protocols": {"hanoi": evaluate(SEEDS, "hanoi", measured, BREATHS, variants)},
    }
    text = page(json.loads(json.dumps(table)))
    assert "`python -m bench routes` at commit abc; seeds 600000 to 600005" in text
    assert "mu in the body 0.03 (goal 0.02: missed)" in text
    assert ("counts by cunet, weights 333333333333" in text) == bool(variants)
    assert f"segments to truth beyond {CT}'s {-1 - 2 * len(variants)} (goal 0.2: reached)" in text
    assert f"| {EXACT} | 1.00 [1.00, 1.00] | 0.00 [0.00, 0.00] |" in text


def test_errors_of_counts_know_the_best_factor():
    rng = np.random.default_rng(5)
    ideal = rng.uniform(100, 200, (2, 29, 64, 64))
    as_they_are, fitted = _errors(2.0 * ideal, ideal, (6.8, 6.8, 6.8))
    assert as_they_are == pytest.approx([75, 75], rel=0.1)
    assert fitted == pytest.approx([0, 0], abs=1e-6)


def test_readers_tell_images_that_differ_where_a_defect_is_and_no_others():
    """Of one route the observer's channels hold the defect, of the other nothing; the same of polar maps."""
    rng, patients = np.random.default_rng(), 60
    cases = [case_of(seed, "hanoi") for seed in range(600_000, 600_000 + patients)]
    out = []
    for case in cases:
        ill = np.array([max((d["loss"][phase] for d in case["defects"]), default=0.0) for phase in ("stress", "rest")])
        seen = rng.normal(size=(2, 2, 4))
        seen[0, :, 1] += 12 * ill
        polar = rng.normal(80, 4, (2, 2, 24, 72))
        polar[0, :, :12, :20] *= (1 - ill)[:, None, None]
        out.append({"seen": seen, "polar": polar})
    found = areas(out, cases, ["sees", "blind"], "blind")
    assert found["with"] + found["without"] <= 2 * patients
    for reader in ("observer", "deficit"):
        assert found["rows"]["sees"][reader][0] > 0.85
        assert 0.15 < found["rows"]["blind"][reader][0] < 0.85
        assert found["rows"]["sees"][f"{reader} - blind"][1] > 0.1
        assert found["rows"]["blind"][f"{reader} - blind"] == [0, 0, 0]
    few = areas(out[:4], cases[:4], ["sees", "blind"], "blind")
    assert few["rows"] == {"sees": {}, "blind": {}}


def test_the_card_of_the_maps_takes_its_figures_from_files(measured, variants):
    found = evaluate(SEEDS, "hanoi", measured, BREATHS, variants)
    routes_table = {"seeds": [600_000, 600_005], "protocols": {"hanoi": found}}
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
    away, ct = (routes(BREATHS, variants).index(name) for name in (PREDICTED, CT))
    assert f"{away:.2f} to truth (CT-AC as acquired {ct:.2f})" in text
