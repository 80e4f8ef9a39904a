"""What was injected and counted: technetium perfusion, or a sentence."""

import pytest
from fake_study import edit, heart, write_nc
from pydicom.dataset import Dataset

from spectac_fast.errors import NotApplicableError
from spectac_fast.formats.dicom import read_series
from spectac_fast.formats.dicom.kind.tracer import energy_windows


@pytest.fixture
def file(tmp_path, rng):
    path = tmp_path / "SA.dcm"
    write_nc(path, heart(rng))
    return path


def item(**values):
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def injected(nuclide="", text="", tracer="", seconds=None, meaning=""):
    """A change of a data set: this radiopharmaceutical and no other word of one."""

    def change(ds):
        codes = [item(CodeValue=nuclide, CodingSchemeDesignator="SCT", CodeMeaning=meaning)] if nuclide else []
        tracers = [item(CodeValue="1", CodingSchemeDesignator="99X", CodeMeaning=tracer)] if tracer else []
        told = item(Radiopharmaceutical=text, RadionuclideCodeSequence=codes, RadiopharmaceuticalCodeSequence=tracers)
        if seconds:
            told.RadionuclideHalfLife = seconds
        ds.RadiopharmaceuticalInformationSequence = [told]
        ds.EnergyWindowInformationSequence = []

    return change


def counted(*limits, name="", vector=None):
    """A change of a data set: these energy windows, keV."""

    def change(ds):
        ranges = [[item(EnergyWindowLowerLimit=str(low), EnergyWindowUpperLimit=str(high))] for low, high in limits]
        ds.EnergyWindowInformationSequence = [
            item(EnergyWindowName=name, EnergyWindowRangeSequence=each) for each in ranges
        ]
        ds.NumberOfEnergyWindows = len(limits)
        if vector:
            ds.EnergyWindowVector = [vector] * 29

    return change


REFUSED = {
    "FDG by its code": (injected("77004003"), "F-18"),
    "FDG by its retired code": (injected("C-111A1"), "F-18"),
    "FDG by name": (injected(text="FDG"), "F-18"),
    "FDG by its full name": (injected(tracer="Fluorodeoxyglucose F^18^"), "F-18"),
    "fluorine by its half-life": (injected(seconds="6588"), "F-18"),
    "rubidium": (injected("79197006"), "Rb-82"),
    "ammonia": (injected(tracer="Ammonia N^13^"), "N-13"),
    "iodine": (injected("21572004"), "I-123"),
    "MIBG in words": (injected(text="123I-MIBG"), "I-123"),
    "BMIPP": (injected(text="BMIPP"), "BMIPP"),
    "gallium": (injected(meaning="^67^Gallium", nuclide="unknown"), "Ga-67"),
    "PYP": (injected("72454006", text="Tc-99m PYP"), "pyrophosphate"),
    "pyrophosphate by its code": (injected("C-163A8", tracer="Technetium Tc^99m^ pyrophosphate"), "pyrophosphate"),
    "DPD": (injected(text="99mTc-DPD"), "bone"),
    "red cells": (injected(tracer="Technetium Tc^99m^ tagged red cells"), "blood"),
    "annihilation photons": (counted((435, 585)), "511|annihilation"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_model_knows_is_refused(file, name):
    change, word = REFUSED[name]
    edit(file, change)
    with pytest.raises(NotApplicableError, match=word) as caught:
        read_series(file)
    text = str(caught.value)
    assert text.startswith(str(file))
    assert "--force" in text
    assert text.endswith(".")


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_corrected_by_force_and_said(file, name):
    change, _ = REFUSED[name]
    edit(file, change)
    notes = read_series(file, force=True).notes
    assert any("means little" in note for note in notes)


@pytest.mark.parametrize(
    "change",
    [
        injected("60057003"),
        injected("C-138A9"),
        injected(text="Thallium-201 chloride"),
        injected(text="201Tl"),
        injected(text="TL"),
        injected(tracer="Thallous chloride Tl^201^"),
        injected(text="Tálio 201"),
        injected(seconds="262500"),
        counted((63, 77), name="TL201"),
    ],
)
def test_thallium_is_corrected_with_a_sentence(file, change):
    edit(file, lambda ds: (injected()(ds), change(ds)))
    notes = read_series(file).notes
    assert any("Tl-201" in note and "keV" in note for note in notes)


def test_thallium_in_the_description(file):
    edit(file, lambda ds: (injected()(ds), setattr(ds, "SeriesDescription", "STRESS THALLIUM SA")))
    assert "its description" in read_series(file).notes[0]


@pytest.mark.parametrize("limits", [(63, 77), (69, 83), (143, 175), (100, 120), (154.1, 188.4)])
def test_a_window_beside_the_peak_is_said(file, limits):
    edit(file, counted(limits))
    (note,) = read_series(file).notes
    assert f"{limits[0]:g} to {limits[1]:g} keV" in note


@pytest.mark.parametrize(
    "change",
    [
        counted((126.45, 154.55)),
        counted((129, 151), (104, 124)),
        counted(("", "")),
        counted((0, 0)),
        lambda ds: delattr(ds, "EnergyWindowInformationSequence"),
        lambda ds: delattr(ds, "RadiopharmaceuticalInformationSequence"),
        injected(),
        injected(text="SECRET-TRACER 7"),
        injected("C-163A8", text="Myoview"),
        injected(text="Tc99m-MIBI", seconds="21624.12"),
        injected(tracer="Technetium Tc^99m^Tetrofosmin"),
        injected(text="Tecnecio 99m sestamibi"),
        lambda ds: setattr(ds, "ProtocolName", "REST TL201 STRESS MIBI"),
    ],
)
def test_technetium_perfusion_and_silence_need_no_word(file, change):
    edit(file, change)
    assert read_series(file).notes == ()


def test_a_contradiction_is_said(file):
    edit(file, lambda ds: setattr(ds, "SeriesDescription", "STRESS THALLIUM SA"))
    (note,) = read_series(file).notes
    assert "Tc-99m (its radionuclide)" in note
    assert "Tl-201 (its description)" in note


def test_the_window_that_was_counted_is_the_one_that_counts():
    ds = Dataset()
    counted((63, 77), (126, 154), vector=1)(ds)
    assert energy_windows(ds) == [(63, 77)]
    ds.EnergyWindowVector = [1, 2]
    assert energy_windows(ds) == [(63, 77), (126, 154)]
