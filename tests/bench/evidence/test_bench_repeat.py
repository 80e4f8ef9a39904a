"""The benchmark of test and retest, on a cohort of a few shells and on segments with known answers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fake_cohort import FakeCohort, FakeTranslator

from bench.evidence import repeat
from spectac_fast.data.seeds import stable_seed

NAMES = ("NC", "AC", repeat.CORRECTED)


def segments(**values):
    return {name: np.full((3, 2, 17), float(values[name])) for name in NAMES}


def test_newly_low_is_what_ac_does_not_show_and_only_in_normals():
    cases = [{"defects": []}, {"defects": []}, {"defects": ["one"]}]
    limit = np.full((3, 1, 17), 70.0)
    first = segments(NC=60, AC=80, corrected=78)
    first["AC"][0, 0, 0] = 69
    first[repeat.CORRECTED][0, 0, :2] = 65, 66
    first[repeat.CORRECTED][1, 1, 16] = 69.5
    first[repeat.CORRECTED][2] = 10
    again = segments(NC=62, AC=81, corrected=78)
    again["AC"][0, 0, 0] = 81

    table = repeat.measure(first, again, cases, limit)
    nc, ac, corrected, corrected_again = table["rows"]
    assert table["normal_segments"] == 2 * 2 * 17
    assert table["low_of_ac"] == 1
    assert (nc["low"], nc["new_low"], nc["patients_with_new_low"]) == (68, 67, 2)
    assert (ac["low"], ac["new_low"], ac["new_low_depth"]) == (0, 0, None)
    assert (corrected["low"], corrected["new_low"], corrected["patients_with_new_low"]) == (3, 2, 2)
    assert corrected["new_low_depth"] == {"median": 2.25, "most": 4.0}
    assert corrected_again["new_low"] == 0
    # All of a second AC's segments are 1 higher but one, which is 12 higher; NC's are 2 higher and 20 below AC.
    assert ac["error"]["value"] == pytest.approx((101 + 12) / 102)
    assert table["repeat"]["AC"]["value"] == pytest.approx((101 + 12) / 102)
    assert table["repeat"]["NC"]["value"] == pytest.approx(2)
    assert nc["error_over_nc"]["value"] == 1
    text = repeat.page(table | {"seeds": [1, 3], "row": "r", "weights_sha256": "0" * 64, "commit": "c", "limits": "l"})
    assert "| corrected | " in text
    assert "| 3 | 2 | 2 | 2.2, 4.0 |" in text


class _Cohort(FakeCohort):
    @property
    def shape(self):
        return self.pair(0, "stress", "SA")[0].shape[1:]

    @property
    def seeds(self):
        return [case["seed"] for case in self.cases]


def test_the_command_compares_two_acquisitions(monkeypatch, tmp_path, capsys):
    cohorts = {name: _Cohort(stable_seed(name) % 1000, cases=8, slices=9, side=32) for name in ("one", "two")}
    cohorts["other"] = _Cohort(5, cases=7, slices=9, side=32)
    monkeypatch.setattr("spectac_fast.cohort.cohort.Cohort", lambda folder: cohorts[folder.name])
    monkeypatch.setattr("spectac_fast.models.registry.load", lambda name, _: FakeTranslator(name, slope=1.1))

    def bench(*arguments):
        monkeypatch.setattr("sys.argv", ["bench", "repeat", *map(str, arguments)])
        from bench.__main__ import main

        return main()

    command = ("--data", "one", "--normals", "one", "-d", "cpu", "-o", tmp_path, "-m")
    assert bench(*command, "regression", "--again", "two") == 0
    table = json.loads((tmp_path / "repeat.json").read_text())
    assert [row["image"] for row in table["rows"]] == ["NC", repeat.AC_AGAIN, repeat.CORRECTED, repeat.CORRECTED_AGAIN]
    assert all(0 < value["value"] < 20 for value in table["repeat"].values())
    assert (tmp_path / "repeat.md").read_text().strip() == capsys.readouterr().out.strip()
    with pytest.raises(SystemExit, match="other: expected the patients of one, found others"):
        bench(*command, "regression", "--again", "other")
    with pytest.raises(SystemExit, match="linear: expected a model of NC that gives one image"):
        bench(*command, "linear", "--again", "two")
