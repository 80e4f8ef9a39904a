"""The throughput benchmark: whole commands, their shares of time, and a page that says what was reached."""

from __future__ import annotations

import csv
import dataclasses

import pytest

from bench.__main__ import main
from bench.evidence.studies import write_studies
from bench.speed.throughput import OneStudy, Run
from bench.speed.throughput_page import markdown
from spectac_fast.data.inputs import find_studies
from spectac_fast.formats.dicom import read_series

GOOD = Run(1, 2, 40, 6960, seconds=30.0, first=4.0, start=0.05, network=0.92, waited=0.01, resident=400)


def verdicts(runs, study, device="cpu"):
    rows = markdown(runs, study, {"machine": "m"}, device).splitlines()
    start = rows.index("| goal | measured | verdict |") + 2
    return [row.split("|")[3].strip() for row in rows[start : start + 4]]


def test_goals_are_judged_by_the_single_worker_and_the_largest():
    assert verdicts([GOOD], OneStudy(174, 8.0, 0.7)) == ["reached"] * 4
    slow = dataclasses.replace(GOOD, network=0.89, first=6.1, resident=1600)
    assert verdicts([slow], OneStudy(174, 10.1, 0.4)) == ["missed"] * 4
    # Fewer studies are not the batch that is asked for; what was not measured is not reached.
    assert verdicts([dataclasses.replace(GOOD, studies=39)], OneStudy(174, 8.0, 0.7))[0] == "missed"
    assert verdicts([dataclasses.replace(GOOD, first=float("nan"))], OneStudy(174, 8.0, 0.7))[1] == "missed"
    assert verdicts([dataclasses.replace(GOOD, resident=0)], OneStudy(174, 8.0, 0.7))[3] == "missed"
    assert verdicts([GOOD], OneStudy(174, 8.0, 0.4), "cuda")[2] == "reached"
    assert verdicts([GOOD], OneStudy(174, 8.0, 0.7), "cuda:0")[2] == "missed"


def test_rates_and_what_is_left_over():
    assert (GOOD.studies_per_hour, GOOD.slices_per_second) == (4800, 232)
    assert GOOD.other == pytest.approx(0.02)


def test_studies_are_whole_or_small_and_each_its_own(tmp_path):
    assert write_studies(tmp_path / "whole", 1) == 174
    assert write_studies(tmp_path / "small", 3, slices=10) == 30
    assert [len(study) for study in find_studies([tmp_path / "whole"]).studies] == [6]
    small = find_studies([tmp_path / "small"]).studies
    assert [len(study) for study in small] == [1, 1, 1]
    series = [read_series(study[0].path) for study in small]
    assert len({one.uid for one in series}) == 3
    assert all(one.counts.shape == (10, 64, 64) and not one.attenuation_corrected for one in series)


def test_a_page_and_a_table(tmp_path, monkeypatch, capsys):
    arguments = ["--studies", "1", "--workers", "1", "-m", "scale", "-d", "cpu", "--threads", "1", "-o", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["bench", "throughput", *arguments])
    assert main() == 0
    with (tmp_path / "throughput_cpu.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["workers"], row["studies"], row["slices"]) == ("1", "1", "174")
    shares = [float(row[name]) for name in ("start", "network", "waited")]
    assert all(0 < share < 1 for share in shares)
    assert sum(shares) < 1
    assert 0 < float(row["first"]) < float(row["seconds"])
    page = (tmp_path / "throughput_cpu.md").read_text()
    assert page in capsys.readouterr().out
    assert "| 1 | 1 | " in page
