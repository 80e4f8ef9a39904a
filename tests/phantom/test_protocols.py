"""Protocols and people as they are drawn: by name, at random, and without what is held back."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from spectac_fast.phantom.conditions import CONDITIONS, with_bmi
from spectac_fast.phantom.drawn import FAMILIES, HANOI_SHARE, draw_protocol
from spectac_fast.phantom.findings import Findings
from spectac_fast.phantom.people import draw
from spectac_fast.phantom.protocol import CONDITION_NAMES, FAMILY_NAMES, HANOI, LEFT_OUT, NAMES, RANDOM
from spectac_fast.phantom.protocols import PLANS, planned
from spectac_fast.phantom.worldwide import BMI, draw_worldwide

# Of no split: what is learnt of draws is learnt of nobody.
SEEDS = range(810_000, 811_500)


@pytest.fixture(scope="module")
def studies():
    return [planned(RANDOM, seed) for seed in SEEDS]


def share(flags):
    """A share, and four standard deviations of it."""
    flags = np.asarray(flags, float)
    return flags.mean(), 4 * np.sqrt(0.25 / len(flags))


def test_the_default_is_the_first_cohort():
    assert (*PLANS, RANDOM) == NAMES
    assert (tuple(FAMILIES), tuple(CONDITIONS)) == (FAMILY_NAMES, CONDITION_NAMES)
    assert NAMES[0] == "hanoi"
    for seed in (0, 650_123):
        assert planned("hanoi", seed) == (draw(seed), HANOI)
    assert draw(0).findings == Findings()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_and_a_seed_always_give_the_same_study(name):
    first, again = planned(name, 810_007), planned(name, 810_007)
    assert first == again
    assert planned(name, 810_007, acquisition=3)[1] == replace(first[1], acquisition=3)
    said = json.loads(json.dumps(first[1].to_json()))
    assert said["camera"]["views"] == first[1].camera.views
    assert said["nc"]["filter"]["kind"] == first[1].nc.filter.kind
    for how in (first[1].nc, first[1].ac):
        assert how.method == "FBP" or first[1].camera.views % how.subsets == 0


def test_named_protocols_differ_from_the_first_cohort_and_from_each_other():
    plans = [(plan.protocol, plan.origin, plan.change) for plan in PLANS.values()]
    assert all(plans.count(plan) == 1 for plan in plans)


def test_a_condition_changes_one_thing():
    patient, rng = draw(650_123), np.random.default_rng
    for name, (_, change) in CONDITIONS.items():
        changed = change(patient, rng((1, 2)))
        assert changed == change(patient, rng((1, 2)))
        assert changed.findings.names, name
        assert (changed.seed, changed.defects, changed.counts) == (patient.seed, patient.defects, patient.counts)


def test_a_heavier_patient_is_wider_and_stands_higher_in_the_diaphragm():
    woman = next(p for p in map(draw, range(100)) if p.sex == "F" and p.breast < 60)
    heavy = with_bmi(woman, 40.0)
    assert heavy.bmi == 40.0
    assert heavy.fat - woman.fat == pytest.approx(2.0 * (40.0 - woman.bmi))
    assert heavy.breast > woman.breast
    assert heavy.left_dome > woman.left_dome
    assert with_bmi(heavy, woman.bmi).fat == pytest.approx(woman.fat)


def test_random_studies_are_what_departments_do(studies):
    protocols = [protocol for _, protocol in studies]
    expected = {
        "fbp": 0.88 * 0.84 * 0.32,
        "arc360": 0.88 * 0.84 * 0.13,
        "czt": 0.88 * 0.16,
        "legp": 0.88 * 0.84 * 0.2,
        "matrix128": 0.88 * 0.84 * 0.12,
        "no-scatter-correction": 0.88 * 0.2,
        "prone": 0.88 * 0.1,
        "box": 0.88 * 0.2,
        "cropped": 0.88 * 0.2,
    }
    for name, of in expected.items():
        found, margin = share([FAMILIES[name](p) for p in protocols])
        assert found == pytest.approx(of, abs=margin), name
    found, margin = share([p == HANOI for p in protocols])
    assert found == pytest.approx(HANOI_SHARE, abs=margin)
    for protocol in protocols:
        camera = protocol.camera
        assert 3.0 <= camera.pixel_mm <= 7.5
        assert 0.25 <= protocol.counts <= 2.0
        assert camera.views in (30, 32, 60, 64, 120)
        assert camera.arc == 180 or camera.views >= 60
        assert protocol.ac.method == "OSEM"
        for how in (protocol.nc, protocol.ac):
            assert how.method == "FBP" or 2 <= how.iterations <= 12
            assert how.method == "FBP" or 12 <= how.iterations * how.subsets <= 100


@pytest.mark.parametrize("origin", ["western", "asian"])
def test_bodies_are_as_heavy_as_published_ones(origin):
    bmi = np.array([draw_worldwide(seed, origin).bmi for seed in SEEDS])
    mean, sd, _ = BMI[origin]
    assert bmi.mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(len(bmi)) + 0.15)
    assert bmi.std() == pytest.approx(sd, rel=0.15)
    assert bmi.max() <= 45.0
    assert bmi.max() > (40 if origin == "western" else 34)


def test_the_wide_population_has_every_condition_in_men_and_women_who_can(studies):
    people = [patient for patient, protocol in studies if protocol != HANOI]
    men, margin = share([p.sex == "M" for p in people])
    assert men == pytest.approx(0.57, abs=margin)
    names = {name for p in people for name in p.findings.names}
    assert {"dilated heart", "hypertrophic heart", "pleural effusion", "dextrocardia", "arms down"} <= names
    assert not [p for p in people if p.sex == "M" and (any(p.findings.implants_ml) or any(p.findings.removed))]
    assert all(0 < value < 10 for p in people for value in asdict(p.uptake["rest"]).values())


@pytest.mark.parametrize("without", [("czt", "arc360"), ("fbp", "dextrocardia", "implant")])
def test_what_is_left_out_is_never_drawn(without, studies):
    for seed in SEEDS[:400]:
        patient, protocol = planned(RANDOM, seed, without=without)
        assert not any(FAMILIES[name](protocol) for name in without if name in FAMILIES)
        assert not patient.findings.mirrored or "dextrocardia" not in without
        assert not any(patient.findings.implants_ml) or "implant" not in without
    assert set(without) <= set(LEFT_OUT)
    assert any(FAMILIES[without[0]](protocol) for _, protocol in studies)


def test_leaving_out_does_not_move_what_was_not_left_out():
    kept = [seed for seed in SEEDS[:200] if not FAMILIES["fbp"](draw_protocol(seed))]
    assert [draw_protocol(seed, ("fbp",)) for seed in kept] == [draw_protocol(seed) for seed in kept]


def test_an_inferior_defect_is_the_only_one_and_of_every_depth():
    found = [planned("inferior-defect", seed)[0] for seed in SEEDS]
    for patient, seed in zip(found, SEEDS, strict=True):
        (defect,) = patient.defects
        assert replace(patient, defects=()) == replace(draw(seed), defects=())
        assert -116 < defect.angle < -64
        assert 0.0 <= defect.loss["rest"] <= defect.loss["stress"]
        assert defect.base < defect.apex
    losses = [patient.defects[0].loss["stress"] for patient in found]
    assert min(losses) < 0.25 < 0.55 < max(losses)
    fixed = np.mean([patient.defects[0].loss["rest"] == patient.defects[0].loss["stress"] for patient in found])
    # Of SEEDS half, within six standard deviations.
    assert abs(fixed - 0.5) < 6 * 0.5 / len(SEEDS) ** 0.5
