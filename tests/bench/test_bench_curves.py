"""Learning curves from the diaries of training runs."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest
from tiny_training import TinyCohort, tiny_recipe

from bench.quality import curves
from spectac_fast.train.loop.budget import Budget
from spectac_fast.train.run import Options, train


def points(heart, slices=None):
    slices = slices or [100 * (k + 1) for k in range(len(heart))]
    return [{"slices": s, "minutes": s / 100, "heart": h} for s, h in zip(slices, heart, strict=True)]


def diary(folder, heart, ended=True):
    folder.mkdir()
    lines = [
        {"step": k, "slices": p["slices"], "minutes": p["minutes"], "threads": 2,
         "validation": {"heart": 0.1, "heart_over_linear": p["heart"]}}
        for k, p in enumerate(points(heart))
    ]  # fmt: skip
    lines.insert(1, {"step": 0, "slices": 150, "minutes": 1.5, "loss": 0.3})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text if ended else text + '{"step": 99, "slices": 9')
    if ended:
        (folder / "card.json").write_text(json.dumps({"recipe": {"name": "native64"}}))
    return folder


def test_what_was_reached_is_interpolated_in_the_logarithm():
    curve = points([1.0, 0.5, 0.4], [10, 100, 1000])
    assert curves.reached(curve, 1.0) == pytest.approx(0.4)
    assert curves.reached(curve, 0.1) == pytest.approx(0.5)
    assert curves.reached(curve, 10**-1.5) == pytest.approx(0.75)
    assert curves.reached(curve, 0.001) is None


def test_the_change_is_that_of_the_last_third():
    slices = np.arange(100, 1000, 100)
    line = 1.0 - slices / 3000
    found = curves.last_change(points(line.tolist()))
    assert found == pytest.approx((line[-1] - (1.0 - 600 / 3000)) / (1.0 - 600 / 3000))
    assert curves.last_change(points([0.5] * 9)) == pytest.approx(0.0, abs=1e-12)
    assert curves.last_change(points([1.0, 0.9])) is None


def test_rows_that_still_fall_are_marked(tmp_path, capsys):
    runs = [
        diary(tmp_path / "flat", [1.0, *[0.5] * 8]),
        diary(tmp_path / "falling", np.linspace(1.0, 0.2, 9).tolist(), ended=False),
    ]
    args = argparse.Namespace(runs=runs, out=tmp_path / "out")
    assert curves.run(args) == 0
    text = (tmp_path / "out" / "curves.md").read_text()
    assert text in capsys.readouterr().out
    assert "| flat | – | – | – | 0.500 | 0.500 | 900 | 18.0 | " in text
    assert "| falling **(still falls)** (goes on) | " in text
    assert (tmp_path / "out" / "curves.png").stat().st_size > 10_000
    rows = json.loads((tmp_path / "out" / "curves.json").read_text())["rows"]
    assert [row["ended"] for row in rows] == [True, False]


def test_rows_of_an_earlier_table_stay_until_their_run_is_there_again(tmp_path, capsys):
    def table(*runs):
        curves.run(argparse.Namespace(runs=list(runs), out=tmp_path / "out"))
        rows = json.loads((tmp_path / "out" / "curves.json").read_text())["rows"]
        return {row["name"]: row["reached"]["1.0"] for row in rows}

    (tmp_path / "again").mkdir()
    table(diary(tmp_path / "one", [1.0, 0.9]), diary(tmp_path / "other", [1.0, 0.8]))
    kept = tmp_path / "out" / "curves.json"
    assert table(kept, diary(tmp_path / "again" / "one", [1.0, 0.5])) == {"one": 0.5, "other": 0.8}
    for wrong in (tmp_path / "nothing", tmp_path / "one" / "log.jsonl"):
        with pytest.raises(SystemExit, match=f"{wrong.name}: expected a training run or the curves.json"):
            table(wrong)


def test_a_folder_that_is_no_watched_run_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"nothing: expected a training run"):
        curves.learned(tmp_path / "nothing")
    (tmp_path / "log.jsonl").write_text('{"step": 1, "slices": 8, "minutes": 0.1, "loss": 1.0}\n')
    with pytest.raises(SystemExit, match="--validation"):
        curves.learned(tmp_path)


def test_a_training_looks_at_its_patients_at_shares_of_its_budget(tmp_path):
    train(TinyCohort([3]), TinyCohort([500_001]), tmp_path, tiny_recipe(), Options(Budget(steps=40)))
    found = curves.learned(tmp_path)
    # After 1, 3, 10, 30 and 100 % of 40 steps of 8 slices, rounded up to whole steps.
    assert [point["slices"] for point in found["points"]] == [8, 16, 32, 96, 320]
    assert found["ended"]
    assert found["recipe"] == "native64"
