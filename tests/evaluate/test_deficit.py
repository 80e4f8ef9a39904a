"""Perfusion deficits against normal limits: by hand, and of the normals that ship."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from spectac_fast.evaluate.regional.deficit import NORMALS, NormalMaps, deficit, normal_maps
from spectac_fast.evaluate.regional.segments import segment_map
from spectac_fast.evaluate.report.analysis import Phase, _judge
from spectac_fast.evaluate.report.deficits import deficit_table, rows

FLAT = NormalMaps(np.full((24, 72), 80.0), np.full((24, 72), 4.0), "nobody")


def test_a_normal_map_has_none():
    for level in (80.0, 100.0, 80.0 - 2.5 * 4):
        found = deficit(np.full((24, 72), level), FLAT)
        assert (found.total, found.extent, found.severity, found.summed) == (0, 0, 0, 0)


def test_what_is_gone_everywhere_is_all():
    found = deficit(np.zeros((24, 72)), FLAT)
    assert found.total == pytest.approx(100)
    assert found.extent == pytest.approx(100)
    assert found.severity == pytest.approx(80 / 4)
    assert (found.scores == 4).all()
    assert found.summed == 68


@pytest.mark.parametrize(
    ("lost", "score"), [(0.10, 0), (0.13, 1), (0.25, 1), (0.30, 2), (0.45, 3), (0.65, 4), (0.9, 4)]
)
def test_scores_rise_with_what_is_lost(lost, score):
    """0.7 of the normal mean is 4; below 2.5 SD, here an eighth, nothing counts."""
    polar = np.where(segment_map() == 10, 80.0 * (1 - lost), 80.0)
    found = deficit(polar, FLAT)
    assert found.scores[9] == score
    assert found.summed == score
    assert (found.extent > 0) == (lost > 0.125)


def test_places_weigh_as_much_as_their_area():
    """A half-ellipsoid's rings: the outer half of its levels has most of the area, the last ring next to none."""
    whole = [
        deficit(np.where(np.arange(24)[:, None] == k, 0.0, np.full((24, 72), 80.0)), FLAT).extent for k in range(24)
    ]
    assert sum(whole) == pytest.approx(100)
    assert (np.diff(whole) < 0).all()
    assert sum(whole[:12]) == pytest.approx(100 * np.sin(np.pi / 4), abs=0.5)


def test_the_normals_that_ship_are_of_each_sex_and_kind():
    for sex in "FM":
        nc, corrected, ac = (normal_maps(kind, sex) for kind in ("NC", "corrected", "AC"))
        assert np.array_equal(corrected.mean, ac.mean)
        assert not np.array_equal(nc.mean, ac.mean)
        for maps in (nc, ac):
            assert maps.mean.shape == maps.sd.shape == (24, 72)
            assert 40 < maps.mean.min() < maps.mean.max() <= 105
            assert (maps.sd > 0.5).all()
            assert "synthetic" in maps.group
            assert "seeds" in maps.group
            # A mean normal is normal; one that has lost half of its inferior wall is not.
            assert deficit(maps.mean, maps).total == 0
            ill = np.where(np.isin(segment_map(), (4, 10, 15)), 0.5 * maps.mean, maps.mean)
            assert deficit(ill, maps).total > 5
    # Attenuation takes counts of the inferior wall, of men's most.
    inferior = segment_map() == 4
    men = normal_maps("NC", "M").mean[inferior].mean() / normal_maps("AC", "M").mean[inferior].mean()
    assert men < 1
    assert normal_maps("NC", "O") is None


def test_the_report_names_the_limits_and_their_sex():
    mean = {kind: normal_maps(kind, "M").mean for kind in ("NC", "corrected")}
    polar = {**mean, "NC": mean["NC"] * np.where(segment_map() == 4, 0.5, 1)}
    phases = [Phase("stress", {}, polar=polar), Phase("rest", {}, polar=mean)]
    for phase in phases:
        _judge(phase, "M")
    lines = dict(rows(phases, ["NC", "corrected"]))
    assert lines["SSS"] == ["3", "0"]
    assert lines["SRS"] == ["0", "0"]
    assert lines["SDS"] == ["3", "0"]
    assert float(lines["stress TPD, %"][0]) > 2
    assert lines["rest extent, %"] == ["0", "0"]
    text = "".join(deficit_table(phases))
    assert normal_maps("NC", "M").group in text
    assert "Synthetic normals are not your patients" in text
    for sex, said in (("O", "Patient’s Sex is O"), ("", "Patient’s Sex is not stated")):
        unknown = [Phase("stress", {}, polar=polar)]
        _judge(unknown[0], sex)
        assert unknown[0].deficits == {}
        assert said in "".join(deficit_table(unknown))
    assert list(deficit_table([Phase("stress", {})])) == []


class Part(SimpleNamespace):
    def __len__(self):
        return len(self.cases)


def test_normals_are_made_of_the_normal_patients_of_all_cohorts(monkeypatch, tmp_path, capsys):
    from bench.evidence.clinical import normals
    from spectac_fast.evaluate.regional import deficit as module
    from spectac_fast.evaluate.regional import ventricle

    rng = np.random.default_rng(0)
    stacks = {(i, phase): rng.uniform(50, 100, (2, 29, 64, 64)) for i in range(6) for phase in ("stress", "rest")}
    cases = [{"seed": 7 + i, "sex": "FM"[i % 2], "defects": [1] if i > 3 else []} for i in range(6)]

    def part(folder):
        first = 3 * int(folder)
        about = {"folder": folder, "spacing_mm": (6.8, 6.8, 6.8), "shape": (64, 64), "kinds": ("NC", "AC")}
        return Part(cases=cases[first : first + 3], pair=lambda i, phase, plane: stacks[first + i, phase], **about)

    monkeypatch.setattr("spectac_fast.cohort.cohort.Cohort", part)
    known = ventricle.Ventricle((0.0, 0.0, 0.0), 28.0, 50.0, -20.0)
    monkeypatch.setattr(ventricle, "find", lambda *_: known)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "deficit.py"))
    assert normals.run(SimpleNamespace(data=["0", "1"], store=True)) == 0
    with np.load(tmp_path / NORMALS) as held:
        groups = json.loads(str(held["groups"]))
        assert groups["F"] == "2 synthetic women without defects (seeds 7–12)"
        assert held["mean_M_AC"].shape == (24, 72)
        # Of flat noise the largest counts along the normals are much the same everywhere.
        assert 80 < held["mean_M_AC"].mean() < 100
    assert "2 synthetic men" in capsys.readouterr().out
