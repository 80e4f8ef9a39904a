"""What is known of a study, as the numbers that a network is told."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_study import edit, heart, write_nc, write_study

import spectac_fast as sf
from spectac_fast.cohort.paired import facts_of_case
from spectac_fast.data.facts import FACTS, NOTHING_KNOWN, StudyFacts, facts_of_series
from spectac_fast.formats.series import Told
from spectac_fast.formats.volumes import read_volume
from spectac_fast.phantom.protocol import HANOI
from spectac_fast.phantom.protocols import PLANS


def test_numbers_have_one_order_and_nothing_known_is_zero():
    known = StudyFacts(male=True, bmi=32.0, arc=180.0, keeps_scatter=True)
    np.testing.assert_array_equal(known.values(("arc", "sex", "bmi", "fbp", "keeps_scatter")), [-1, 1, 1, 0, 1])
    np.testing.assert_array_equal(known.values(("fbp", "sex"), unknown=math.nan), [math.nan, 1])
    assert not NOTHING_KNOWN.values(tuple(FACTS)).any()
    with pytest.raises(KeyError):
        known.values(("shoes",))


def test_nobody_is_further_off_than_who_was_learnt_from():
    assert np.abs(StudyFacts(bmi=79.0, arc=360.0).values(("bmi", "arc"))).max() <= 3.5


def test_a_usual_ac_has_its_scatter_taken_out():
    assert StudyFacts(keeps_scatter=False).values(("keeps_scatter",)) == StudyFacts().values(("keeps_scatter",)) == 0


def test_facts_in_words():
    known = StudyFacts(male=False, bmi=31.4, arc=180.0, fbp=False)
    assert known.words(("sex", "bmi", "prone", "arc", "fbp")) == "female, body mass index 31, 180 degrees, iterations"
    assert known.words(("prone",)) == NOTHING_KNOWN.words(tuple(FACTS)) == ""
    every = StudyFacts(True, 20.0, True, 360.0, True, True, True, True, True, True)
    assert every.words(tuple(FACTS)).count(", ") == len(FACTS) - 1


def facts(folder, **more):
    return facts_of_series(sf.read_study(folder).series, **more)


def test_what_one_plane_lost_another_says(tmp_path, rng):
    write_study(tmp_path, rng, phases=("stress",))
    edit(tmp_path / "stress_VLA_NC.dcm", lambda ds: delattr(ds, "RotationInformationSequence"))
    assert {each.arc for each in facts(tmp_path)} == {180.0}
    assert {each.male for each in facts(tmp_path)} == {False}


def test_planes_that_contradict_each_other_say_nothing(tmp_path, rng):
    write_study(tmp_path, rng, phases=("stress",))
    edit(tmp_path / "stress_VLA_NC.dcm", lambda ds: setattr(ds.RotationInformationSequence[0], "ScanArc", "360"))
    assert {each.arc for each in facts(tmp_path)} == {None}


def test_stress_and_rest_are_two_acquisitions(tmp_path, rng):
    write_study(tmp_path, rng, planes=("SA",))
    edit(tmp_path / "rest_SA_NC.dcm", lambda ds: setattr(ds.RotationInformationSequence[0], "ScanArc", "360"))
    by_phase = {series.phase: each.arc for series, each in zip(sf.read_study(tmp_path).series, facts(tmp_path))}
    assert by_phase == {"stress": 180.0, "rest": 360.0}


def test_another_patient_in_the_study_keeps_what_is_theirs(tmp_path, rng):
    write_study(tmp_path, rng, planes=("SA",), phases=("stress",))
    write_nc(tmp_path / "other.dcm", heart(rng), plane="VLA", patient_id="OTHER", sex="M")
    said = {series.plane: each.male for series, each in zip(sf.read_study(tmp_path).series, facts(tmp_path))}
    assert said == {"SA": False, "VLA": True}


def test_files_without_a_header_say_nothing_but_what_the_user_wants(tmp_path, rng):
    path = tmp_path / "stress_SA.npy"
    np.save(path, heart(rng))
    series = read_volume(path, path.read_bytes(), Told(plane="SA", phase="stress", pixel_mm=6.8, slice_mm=6.8))
    assert facts_of_series([series]) == [StudyFacts()]
    assert facts_of_series([series], StudyFacts(keeps_scatter=True)) == [StudyFacts(keeps_scatter=True)]


def test_every_protocol_of_the_phantom_has_facts():
    for name, plan in PLANS.items():
        case = {"seed": 1, "sex": "F", "bmi": 24.0, "protocol": plan.protocol.to_json()}
        found = facts_of_case(case)
        assert found.arc == (360.0 if name == "arc360" else 180.0), name
        assert found.fbp == name.startswith("fbp"), name
        assert found.keeps_scatter == (plan.protocol.ac.scatter == "none"), name
        assert found.sharper is False, name
    other = HANOI.to_json() | {"ac": HANOI.to_json()["ac"] | {"resolution_recovery": True}}
    assert facts_of_case({"seed": 1, "protocol": other}).sharper is True
    assert facts_of_case({"patient": "p", "sha256": "0"}) == StudyFacts()
    first = facts_of_case({"seed": 1, "sex": "M", "bmi": 23.0})
    assert (first.male, first.arc, first.keeps_scatter) == (True, 180.0, False)
