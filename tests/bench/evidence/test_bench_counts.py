"""The factor that absolute counts are off by, and how it is summed up."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from patience import HANGS_S

from bench.evidence.expected.counts import FEWEST, page, summary


def study(seed, factor, bmi=24.0, name="random", outside="kept", scatter="dew"):
    protocol = {"name": name, "field": {"outside": outside}, "ac": {"scatter": scatter}}
    return {"seed": seed, "bmi": bmi, "factor": factor, "protocol": protocol}


def test_groups_are_those_of_patients_and_protocols():
    usual = [study(i, 1.1 ** (i % 2 * 2 - 1), bmi=24 + i) for i in range(12)]
    cut = [study(20 + i, 1.5, outside="cropped") for i in range(FEWEST)]
    lone = [study(40, 2.0, scatter="none")] * FEWEST
    rows = {row["group"]: row for row in summary([*usual, *cut, *lone])}
    assert rows["all"]["studies"] == 12 + 2 * FEWEST
    row = rows["whole field of view, AC with scatter correction"]
    assert (row["studies"], row["typical"]) == (12, pytest.approx(1.0))
    assert row["deviation"] == pytest.approx(1.1)
    assert rows["of these, body mass index 30 and above"]["studies"] == 6
    assert rows["field of view cut to the heart"]["typical"] == pytest.approx(1.5)
    # One patient is no group, however often he was imaged.
    assert "whole field of view, AC without scatter correction" not in rows
    text = page(
        {"rows": list(rows.values()), "seeds": [0, 45], "model": "bbdm", "weights_sha256": "ab" * 32, "commit": "c"}
    )
    assert "| field of view cut to the heart | 6 | 1.50 | 0 % | 1.50 – 1.50 |" in text


def test_it_measures_a_cohort(repository, tmp_path):
    made = ["phantom", "--cases", "1", "--seed", "520001", "--protocol", "western", "--format", "npy", "-q"]
    for command in (
        ["-m", "spectac_fast", *made, "-o", str(tmp_path / "cohort")],
        ["-m", "bench", "counts", "--data", str(tmp_path / "cohort"), "-o", str(tmp_path / "out"), "-d", "cpu"],
    ):
        done = subprocess.run(
            [sys.executable, *command], cwd=repository, capture_output=True, text=True, timeout=HANGS_S, check=False
        )
        assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "out" / "counts.json").read_text())
    assert [s["phase"] for s in table["studies"]] == ["stress", "rest"]
    assert all(0.4 < s["factor"] < 2.5 for s in table["studies"])
    assert table["rows"] == []
