"""The benchmark of other protocols, on a cohort of a few shells and on scores with known answers."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest
from fake_cohort import FakeIdealCohort, FakeTranslator

from bench.evidence.protocols import page as pages
from bench.evidence.protocols import patients, protocols
from spectac_fast.cohort.cohort import Cohort
from spectac_fast.cohort.population import FEATURES, PlanePopulation, Population
from spectac_fast.data.scale import count_scale
from spectac_fast.evaluate.regional.segments import segment_means
from spectac_fast.evaluate.regional.ventricle import Ventricle
from spectac_fast.evaluate.table.variants import expand


def row_of(name, **options):
    made = FakeTranslator("regression", **options)
    made.weights_sha256 = name * 32
    (row,) = protocols._images(expand([name], lambda _: made, steps=1, samples=1))
    return row


def patient(seed, nc=2.0, rmse=1.0, segments=(5.0, 2.0), flagged=0):
    heart = {"nc": nc, "rmse": rmse, "rescaled": 0.9 * rmse}
    away = {"NC to AC": segments[0], "corrected to AC": segments[1], "NC to IDEAL": 6.0, "corrected to IDEAL": 2.5}
    away |= {"NC to truth": 6.0, "corrected to truth": 5.5 + max(segments[1] - 5.0, 0.0), "AC to truth": 5.0}
    return {
        "seed": seed,
        "heart": {"AC": heart, "IDEAL": heart | {"ac": 0.5}},
        "segments": away | {"AC to IDEAL": 2.1},
        "flagged": flagged,
    }


def table_of(**models):
    """{model: {protocol: patients}} as the command has it."""
    names = dict.fromkeys(name for found in models.values() for name in found)
    return {
        "commit": "c",
        "machine": "m",
        "seeds": [1, 2],
        "models": {model: {"row": f"{model}, 1 evaluation", "weights_sha256": "0" * 64} for model in models},
        "protocols": {name: {model: found[name] for model, found in models.items()} for name in names},
    }


def test_scores_are_those_of_the_images():
    cohort = FakeIdealCohort(3, cases=2)
    row = row_of("aa", slope=1.1, intercept=0.1)
    found = patients.score(cohort, row)
    for i, each in enumerate(found):
        where = Ventricle.of_phantom(cohort.cases[i]["lv"])

        def segments(stack, at=where):
            return segment_means(stack, at, cohort.spacing_mm)

        pairs = [(cohort.pair(i, phase, "SA"), cohort.ideal(i, phase, "SA")) for phase in ("stress", "rest")]
        expected = np.mean([np.abs(segments(nc) - segments(ac)) for (nc, ac), _ in pairs])
        assert each["segments"]["NC to AC"] == pytest.approx(expected)
        expected = np.mean([np.abs(segments(ac) - segments(ideal)) for (_, ac), ideal in pairs])
        assert each["segments"]["AC to IDEAL"] == pytest.approx(expected)
        # The model multiplies NC, so with its own best factor it is nearly NC at its best scale: planes are combined.
        for kind in ("AC", "IDEAL"):
            heart = each["heart"][kind]
            assert heart["rescaled"] == pytest.approx(heart["nc"], rel=0.02)
            assert heart["rmse"] > heart["nc"]
        assert each["segments"]["corrected to AC"] == pytest.approx(each["segments"]["NC to AC"], rel=0.1)


def test_flagged_series_are_those_beyond_the_limit():
    cohort, row = FakeIdealCohort(4, cases=1), row_of("aa")
    assert patients.flagged(cohort, 0, row) == 0
    count = len(FEATURES)
    plane = PlanePopulation(np.zeros((7, 9, 9)), np.zeros(count), np.eye(count), 1e9)
    row.translator.population = Population({"SA": plane})
    assert patients.flagged(cohort, 0, row) == 0
    strict = PlanePopulation(plane.template, plane.mean, plane.covariance, 0.0)
    row.translator.population = Population({"SA": plane, "VLA": strict, "HLA": plane})
    assert patients.flagged(cohort, 0, row) == 2


def test_the_page_says_what_was_gained_and_who_was_harmed():
    old = {
        "hanoi": [patient(1), patient(2, rmse=3.0, flagged=2)],
        "fbp": [patient(1, rmse=1.6), patient(2, rmse=1.6)],
        "no-attenuation": [patient(1, nc=0.0, segments=(0.2, 9.3))] * 2,
    }
    new = {name: [each | {"heart": patient(1, rmse=0.8)["heart"]} for each in of] for name, of in old.items()}
    text = pages.page(table_of(old=old, new=new))
    assert "| hanoi | 1.00 | 0.90 | 1/2 | 1.50 | 5.0 -> 2.0 |" in text
    assert "| no-attenuation | – | – |" in text
    assert (
        "Mean over 2 protocols with something to correct: 0.90 of NC (goal 0.42); the worst is hanoi with 1.00" in text
    )
    assert "Segments are 2.50 % from IDEAL, those of CT-AC 2.10 %: +0.40 (+0.40 – +0.40, 95 % bootstrap over" in text
    assert "over patients), nearer in 0 of 4." in text
    assert "From the truth segments are further than those of NC in 0 of 4, in 0 of them by the correction" in text
    assert "Under no-attenuation segments end 9.3 % from AC where none should move." in text
    assert "| hanoi | 1.00 | 0.40 | -0.60 | 2/2 | 2.0 -> 2.0 |" in text
    # Of four patients the ratio falls by .1, 1.1, .4 and .4.
    assert "Over 4 patients and protocols the ratio to NC changes by -0.500" in text
    assert "it is less in 4." in text


def test_who_is_further_from_the_truth_is_counted():
    of = [patient(1), patient(2, segments=(5.0, 6.5)), patient(3, segments=(5.0, 7.0))]
    of[2]["segments"]["AC to truth"] = 6.5
    text = pages.summary({"hanoi": of})
    assert "further than those of NC in 2 of 3, in 1 of them by the correction and not by CT-AC" in text
    assert "by 1.0 % at most." in text


def test_the_command_scores_every_model_on_the_same_patients_once(monkeypatch, tmp_path, capsys):
    cohorts = {name: FakeIdealCohort(seed, cases=2) for seed, name in enumerate(("hanoi", "fbp"))}
    monkeypatch.setattr(patients, "made", lambda work, name, seeds, jobs: cohorts[name])
    models = {"old": FakeTranslator("regression"), "new": FakeTranslator("regression", slope=1.05, intercept=0.05)}
    for name, model in models.items():
        model.weights_sha256 = name * 20
    monkeypatch.setattr("spectac_fast.models.registry.load", lambda name, device: models[name])
    command = ["--work", str(tmp_path / "work"), "--models", "old,new", "--protocols", "hanoi,fbp", "--patients", "2"]
    parser = argparse.ArgumentParser()
    protocols.add_arguments(parser)
    args = parser.parse_args([*command, "-o", str(tmp_path / "out")])
    assert protocols.run(args) == 0
    table = json.loads((tmp_path / "out" / "protocols.json").read_text())
    assert list(table["protocols"]) == ["hanoi", "fbp"]
    assert [p["seed"] for p in table["protocols"]["fbp"]["new"]] == [600_000, 600_001]
    assert (tmp_path / "out" / "protocols.md").read_text() in capsys.readouterr().out
    calls = {name: len(model.calls) for name, model in models.items()}
    assert protocols.run(args) == 0
    assert {name: len(model.calls) for name, model in models.items()} == calls
    with pytest.raises(SystemExit, match="hanio"):
        protocols.run(parser.parse_args([*command, "--protocols", "hanio"]))


def test_a_model_of_several_targets_is_asked_for_each(monkeypatch):
    row = row_of("aa")
    assert [each.name for each in protocols._told_otherwise([row])] == ["aa"]
    row.translator.facts = ("sex",)
    assert [each.name for each in protocols._told_otherwise([row])] == ["aa", "aa, nothing told"]
    row.translator.facts = ("sex", "keeps_scatter", "ideal")
    usual, untold, ideal = protocols._told_otherwise([row])
    heard = []
    monkeypatch.setattr(
        "spectac_fast.evaluate.table.phase.told", lambda model, known, slices: heard.append(known) or {}
    )
    cohort = FakeIdealCohort(3, cases=1)
    for each in (usual, untold, ideal):
        patients.score(cohort, each)
    wanted = [known.ideal for known in heard]
    # Rows of one model are asked apart, and one of them is told nothing.
    assert wanted.count(None) == wanted.count(True) == len(wanted) // 2 >= 2 * 3
    assert {known.keeps_scatter for known in heard if known.ideal} == {False}


def test_what_is_corrected_already_is_given_as_nc(tmp_path, rng):
    np.save(tmp_path / "cohort.npy", rng.integers(1, 400, (1, 2, 3, 4, 29, 64, 64), np.uint16))
    index = {"format": 2, "pixel_mm": 6.8, "slice_mm": 6.8, "cases": [{"seed": 510_000}]}
    (tmp_path / "index.json").write_text(json.dumps(index))
    usual, called = Cohort(tmp_path), patients.CorrectedAlready(tmp_path)
    nc, ac = called.pair(0, "rest", "VLA")
    assert np.array_equal(nc, ac)
    assert np.array_equal(ac, usual.pair(0, "rest", "VLA")[1])
    assert not np.array_equal(ac, usual.pair(0, "rest", "VLA")[0])
    assert np.array_equal(called.ideal(0, "rest", "VLA"), usual.ideal(0, "rest", "VLA"))
    assert called.scale(0, "rest") == count_scale(usual.pair(0, "rest", "SA")[1], usual.spacing_mm)
