"""The arithmetic of `python -m bench deviations`: a calibration that is known, what it judges, the page, the card."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from bench.evidence.routes.deviations import PHOTONS, SAME, SECOND, calibrated, judged, page
from bench.pages.bridge_card import card

TEMPERATURE, FLOOR = 1.7, 0.05


def patients(rng, count=6, voxels=3000):
    """Errors of maps are TEMPERATURE times as large as their deviations say, and FLOOR of the counts beside them."""
    out = []
    for _ in range(count):
        found = {}
        for what, size, level in (("voxels", voxels, 600.0), ("segments", 17, 80.0)):
            ac = level * rng.uniform(0.5, 1.5, size)
            maps, photons = (ac * 10 ** rng.uniform(-3, -1, size) for _ in range(2))
            floor = FLOOR * ac if what == "voxels" else 0.0
            exact = ac + np.hypot(TEMPERATURE * maps, floor) * rng.standard_normal(size)
            second = exact + np.sqrt(2) * photons * rng.standard_normal(size)
            of = {"ac": ac, "exact": exact, "second": second, "map": maps, "photons": photons}
            found |= {f"{what}_{name}": values for name, values in of.items()}
        out.append(found)
    return out


def test_the_calibration_is_found_and_holds(rng):
    temperature, floor = calibrated(patients(rng))
    assert temperature == pytest.approx(TEMPERATURE, rel=0.1)
    assert floor == pytest.approx(FLOOR, rel=0.25)
    found = judged(patients(rng), TEMPERATURE, FLOOR)
    for name in (SAME, SECOND, PHOTONS):
        row = found[f"voxels: {name}"]
        assert row.worst < 0.02, name
        assert row.sharpness.value == pytest.approx(row.rmse.value, rel=0.05)
        # Seventeen of each patient are few.
        assert found[f"segments: {name}"].worst < 0.25, name
    # As they were drawn, maps say too little.
    assert judged(patients(rng), 1.0, 0.0)[f"voxels: {SAME}"].coverage[3].value < 0.8


def test_no_floor_where_none_is_needed(rng):
    drawn = patients(rng)
    for each in drawn:
        size = len(each["voxels_ac"])
        each["voxels_exact"] = each["voxels_ac"] + 0.6 * each["voxels_map"] * rng.standard_normal(size)
    temperature, floor = calibrated(drawn)
    assert temperature == pytest.approx(0.6, rel=0.05)
    assert floor == 0.0


def test_page_and_card_tell_what_holds_and_what_does_not(rng):
    rows = judged(patients(rng), TEMPERATURE, FLOOR)
    rows[f"segments: {SAME}"] = judged(patients(rng), 0.3, 0.0)[f"segments: {SAME}"]
    table = {
        "command": "python -m bench deviations",
        "commit": "abc",
        "protocol": "hanoi",
        "samples": 16,
        "seeds": {"validation": 500_000, "test": 600_000, "patients": 6},
        "temperature": TEMPERATURE,
        "floor": FLOOR,
        "rows": {"test": {name: asdict(of) for name, of in rows.items()}},
    }
    table = json.loads(json.dumps(table))
    text = page(table)
    assert "1.700 times as far" in text
    assert "5.00 % of the counts" in text
    held, missed = text.split("Not: ")
    assert f"voxels: {SAME}" in held.split("at every level")[1]
    assert f"segments: {SAME} (off by" in missed
    trained = {
        "data": {"training_seeds": [[60_000, 60_079]], "cases": 80, "slices": 7000},
        "recipe": {"name": "native64"},
        "parameters": 824_000,
        "seed": 0,
        "steps": 100,
        "minutes": 20.0,
        "validation": {"as_shipped": {"nmae": 0.05, "heart_nmae": 0.04, "survival": 0.03}},
    }
    text = card(trained, table)
    assert "0.82 M parameters" in text
    assert "| as_shipped | 5.0 % | 4.0 % | 3.0 % |" in text
    assert f"| voxels: {SECOND} |" in text
    assert "maps lie 1.70 times as far" in text
