"""Attenuation maps among the inputs: the right one for each file of projections, or a sentence."""

import numpy as np
import pydicom
import pytest
from fake_patient import AXES, GRID, WATER, body, ct_of, write_ct, write_map, write_patient

import spectac_fast as sf
from spectac_fast.cli import main
from spectac_fast.errors import InputError
from spectac_fast.reconstruct.settings import Filter

AXIS = (45.0, 25.0, *map(float, AXES.centre))
QUICK = {"axis": AXIS, "planes": ("SA",), "iterations": 1}


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    return write_patient(tmp_path_factory.mktemp("tomo") / "stress_TOMO.dcm", np.random.default_rng(3))


@pytest.fixture
def study(tmp_path, patient):
    """A folder with projections; the CT comes later."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / patient.name).write_bytes(patient.read_bytes())
    return tmp_path / "in"


def of(tomo, **others):
    """A change of a CT slice: it is of the same patient and study."""
    source = pydicom.dcmread(tomo, stop_before_pixels=True)

    def change(ds):
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID"):
            setattr(ds, keyword, source.get(keyword))
        for keyword, value in others.items():
            setattr(ds, keyword, value)

    return change


def ct(folder, tomo, share=1.0, *, name="ct", series="1.2.3", **others):
    hu = ct_of(share * WATER * body())[::2]
    first = (-(hu.shape[2] - 1) / 2 * 3.4, -(hu.shape[1] - 1) / 2 * 3.4, float(GRID.axis_z()[0]))
    given = {"spacing": (13.6, 3.4, 3.4), "first": first, "series": series}
    return write_ct(folder / name, hu, **given, change=of(tomo, **others))


def attenuation(made):
    return float(made.mu[GRID.nz // 2, GRID.n // 2, GRID.n // 2])


def run(capsys, *words):
    status = main(["reconstruct", *map(str, words), "--progress", "off", "--planes", "SA", "--iterations", "1"])
    return status, *capsys.readouterr()


def test_the_map_of_the_study_is_used(study, patient):
    folder = ct(study, patient)
    by_hand = sf.reconstruct(study / patient.name, ac=folder, **QUICK)
    found = sf.reconstruct(study, ac="mu", **QUICK)
    np.testing.assert_array_equal(found.volumes["AC"], by_hand.volumes["AC"])
    np.testing.assert_array_equal(found.mu, by_hand.mu)


def test_a_frame_of_reference_before_a_study(study, patient):
    ct(study, patient, 0.9, series="1.2.4", name="other")
    frame = str(pydicom.dcmread(patient).get("FrameOfReferenceUID"))
    ct(study, patient, FrameOfReferenceUID=frame, StudyInstanceUID="1.2.77")
    made = sf.reconstruct(study, ac="mu", filter=Filter("none"), **QUICK)
    assert attenuation(made) == pytest.approx(0.154, abs=0.003)
    assert not any("another frame" in note for note in made.notes)


def test_an_nm_map_before_a_ct_and_a_phase_before_others(study, patient):
    ct(study, patient, 0.95, name="rest", SeriesDescription="CTAC REST")
    ct(study, patient, 0.9, series="1.2.4", name="stress", SeriesDescription="CTAC STRESS")
    assert attenuation(sf.reconstruct(study, ac="mu", **QUICK)) == pytest.approx(0.9 * 0.154, abs=0.003)
    path = write_map(study / "map_SA.dcm", 1e4 * WATER * body().numpy())
    ds = pydicom.dcmread(path)
    of(patient)(ds)
    ds.save_as(path)
    assert attenuation(sf.reconstruct(study, ac="mu", **QUICK)) == pytest.approx(WATER, abs=0.003)


def test_none_and_several_are_a_sentence(study, patient):
    with pytest.raises(InputError, match="among the inputs, found none; --ac FILE names one"):
        sf.reconstruct(study, ac="mu", **QUICK)
    ct(study, patient, StudyInstanceUID="1.2.77", name="elsewhere")
    with pytest.raises(InputError, match="found none"):
        sf.reconstruct(study, ac="mu", **QUICK)
    ct(study, patient, PatientID="ANOTHER", series="1.2.5", name="another")
    with pytest.raises(InputError, match="found none"):
        sf.reconstruct(study, ac="mu", **QUICK)
    for series in ("1.2.6", "1.2.7"):
        ct(study, patient, series=series, name=series)
    with pytest.raises(InputError, match="found 2; --ac FILE names one"):
        sf.reconstruct(study, ac="mu", **QUICK)


def test_a_map_that_this_command_predicted_is_no_measured_one(study, patient):
    path = write_map(study / "tomo_MU_TRA.dcm", 1e4 * WATER * body().numpy())
    ds = pydicom.dcmread(path)
    of(patient)(ds)
    equipment = pydicom.Dataset()
    equipment.ManufacturerModelName = "spectac_fast reconstruct"
    ds.ContributingEquipmentSequence = [equipment]
    ds.save_as(path)
    with pytest.raises(InputError, match="found none"):
        sf.reconstruct(study, ac="mu", **QUICK)


def test_the_command_resumes_until_the_map_changes(study, patient, tmp_path, capsys):
    folder = ct(study, patient)
    words = ("-i", study, "-o", tmp_path / "out", "--ac", "mu", "--axis=" + ",".join(map(str, AXIS)))
    status, printed, said = run(capsys, *words)
    assert (status, "reconstructed 2 series of 1 file" in printed) == (0, True), said
    assert "skipped: " not in said
    ds = pydicom.dcmread(tmp_path / "out" / "stress_TOMO_AC_SA.dcm")
    assert len(ds.SourceImageSequence) == 1 + GRID.nz // 2
    assert "attenuation correction: CT map" in ds.DerivationDescription
    assert "2 series finished before" in run(capsys, *words)[1]
    one = sorted(folder.iterdir())[0]
    ds = pydicom.dcmread(one)
    ds.SeriesDescription = "again"
    ds.save_as(one)
    assert "finished before" not in run(capsys, *words)[1]


def test_maps_of_nobody_are_listed(study, patient, tmp_path, capsys):
    ct(study, patient)
    ct(study, patient, StudyInstanceUID="1.2.77", series="1.2.5", name="elsewhere")
    status, _, said = run(
        capsys, "-i", study, "-o", tmp_path / "out", "--ac", "mu", "--axis=" + ",".join(map(str, AXIS))
    )
    assert status == 0
    assert said.count("skipped: ") == 1
    assert "none that it is used for" in said
