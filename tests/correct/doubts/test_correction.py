"""What is said of a correction by its result."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from fake_population import expected_error
from fake_study import Times, heart, write_nc

import spectac_fast as sf
from spectac_fast.correct import Corrector, Report, carry_out
from spectac_fast.formats.series import Told

SAID = "the correction is likely no better than none"


def folder_of(tmp_path, planes=("SA",)):
    counts = heart(np.random.default_rng(), (15, 40, 40))
    for plane in planes:
        write_nc(tmp_path / "in" / f"{plane}.dcm", counts, plane=plane)
    return tmp_path / "in"


def doubting(factor, weights="w"):
    """A model that multiplies, and of which errors are known: of 1 % times the factor, without correction 5 %."""
    model = Times(factor)
    model.expected_error = expected_error(weights, limits=(1.9, 0.0)).process
    return model


@pytest.mark.parametrize(("factor", "expected"), [(1.2, []), (2.9, ["less exact than usual"])])
def test_a_run_says_what_is_expected_and_lists_it(tmp_path, caplog, factor, expected):
    corrector, report = Corrector(doubting(factor), batch_size=8), Report()
    carry_out(corrector, corrector.plan([folder_of(tmp_path)], tmp_path / "out"), report)
    report.write(tmp_path / "run.json", corrector)
    (study,) = json.loads((tmp_path / "run.json").read_text())["studies"]
    said = [text for text in study["warnings"] if "segments are expected" in text]
    assert len(said) == len(expected)
    assert all(word in text for word, text in zip(expected, said))
    assert all(text in caplog.text for text in said)
    assert len(report.written) == 1


def test_a_study_in_memory_is_doubted_too(tmp_path, caplog):
    corrector = Corrector(doubting(2.9), batch_size=8)
    assert len(list(corrector.map([folder_of(tmp_path)]))) == 1
    assert "segments are expected to differ" in caplog.text


def test_what_looks_as_if_nothing_were_left_to_correct_is_corrected_only_by_the_users_word(tmp_path, caplog):
    model = doubting(2.9)
    level = np.array([model.expected_error.level[0], np.log(0.2)])
    model.expected_error = dataclasses.replace(model.expected_error, level=level)
    folder = folder_of(tmp_path)
    for told, refused in ((Told(), True), (Told(kind="NC"), False)):
        caplog.clear()
        report, out = Report(), tmp_path / f"out-{refused}"
        corrector = Corrector(model, batch_size=8, told=told)
        carry_out(corrector, corrector.plan([folder], out), report)
        assert bool(report.failed) is refused
        assert len(report.written) == (not refused)
        sentence = str(report.failed) if refused else caplog.text
        assert ("nothing were left to correct" in sentence) is refused
        assert (SAID in sentence) is not refused


def test_only_short_axis_slices_are_judged_and_only_with_knowledge(tmp_path, caplog):
    folder = folder_of(tmp_path, planes=("VLA", "HLA"))
    assert list(Corrector(doubting(2.9), batch_size=8).map([folder]))
    write_nc(folder / "SA.dcm", heart(np.random.default_rng(), (15, 40, 40)), study_key="other")
    assert list(Corrector(Times(2.9), batch_size=8).map([folder]))
    assert "segments are expected" not in caplog.text


def test_the_shipped_model_knows_its_weights_alone():
    model = sf.load("bbdm")
    assert model.expected_error.belongs_to == model.weights_sha256
