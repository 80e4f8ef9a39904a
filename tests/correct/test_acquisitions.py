"""What belongs together: two patients, two positions, two acquisitions in one study never share a count scale."""

import shutil

import numpy as np
import pydicom
import pytest
from dcmtk import complaints
from fake_study import Times, edit, ventricle, write_planes
from restored import counts_of, store

from spectac_fast import read_study
from spectac_fast.correct import Corrector, correct_files
from spectac_fast.correct.study import prepare
from spectac_fast.data.acquisition import apart, claim_of
from spectac_fast.data.inputs import find_studies
from spectac_fast.data.scale import count_scale
from spectac_fast.formats.dicom import read_series
from spectac_fast.formats.dicom.patient import facts_of, identity, lying
from spectac_fast.formats.names import lying_in


def renewed(ds, key):
    """An object and a series of its own."""
    ds.SeriesInstanceUID, ds.SOPInstanceUID = f"{ds.SeriesInstanceUID}.{key}", f"{ds.SOPInstanceUID}.{key}"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID


def write_two(folder, change, factor=3.0):
    """Planes of one volume at 1 x and at `factor` x the counts, the latter after `change(ds)`, in one study."""
    write_planes(folder / "first")
    write_planes(folder / "second", volume=lambda mm: factor * ventricle(mm))
    for path in (folder / "second").iterdir():
        edit(path, lambda ds: (renewed(ds, 2), change(ds)))


def scales(folder):
    """{name of file: scale} and the warnings of a study."""
    study = prepare(read_study(folder), Times(), {}, 0)
    names = [f"{series.path.parent.name}/{series.plane}" for series in study.study.series]
    return dict(zip(names, study.scales)), study


def position_words(ds):
    ds.SeriesDescription += " PRONE"


APART = {
    "patient's number": (lambda ds: setattr(ds, "PatientID", "OTHER"), "patient"),
    "patient's name": (lambda ds: setattr(ds, "PatientName", "OTHER"), "patient"),
    "patient's birth date": (lambda ds: setattr(ds, "PatientBirthDate", "19560101"), "patient"),
    "issuer": (lambda ds: setattr(ds, "IssuerOfPatientID", "ELSEWHERE"), "patient"),
    "prone": (lambda ds: setattr(ds, "PatientPosition", "HFP"), "position of the patient"),
    "prone by code": (
        lambda ds: setattr(
            ds.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence[0], "CodeValue", "F-10310"
        ),
        "position of the patient",
    ),
    "prone in words": (position_words, "position of the patient"),
    "time": (lambda ds: setattr(ds, "AcquisitionTime", "164500.5"), "time of acquisition"),
    "date and time": (lambda ds: setattr(ds, "AcquisitionDateTime", "20210203040506.7+0100"), "time of acquisition"),
    "energy": (
        lambda ds: setattr(
            ds.EnergyWindowInformationSequence[0].EnergyWindowRangeSequence[0], "EnergyWindowLowerLimit", "63"
        ),
        "energy window",
    ),
}
# What is not said by any of these is told by the frame of reference or by the counts.
SILENT = {
    "frame of reference": lambda ds: setattr(ds, "FrameOfReferenceUID", "1.2.3"),
    "nothing but counts": lambda ds: None,
}


@pytest.mark.parametrize("name", [*APART, *SILENT])
@pytest.mark.parametrize("factor", [3.0, 1.2])
def test_two_acquisitions_have_two_scales(tmp_path, name, factor):
    write_two(tmp_path, {**{key: change for key, (change, _) in APART.items()}, **SILENT}[name], factor)
    found, study = scales(tmp_path)
    for folder, times in (("first", 1.0), ("second", factor)):
        stack = pydicom.dcmread(tmp_path / folder / "stress_SA_NC.dcm").pixel_array
        expected = count_scale(stack, (6.8, 6.8, 6.8))
        for plane in ("SA", "VLA", "HLA"):
            assert found[f"{folder}/{plane}"] == pytest.approx(expected, rel=1e-6), plane
        assert expected == pytest.approx(times * found["first/SA"], rel=0.01)
    series = study.study.series
    for k, others in enumerate(study.partners):
        assert len(others) == 2
        assert {series[other].path.parent for other in others} == {series[k].path.parent}


@pytest.mark.parametrize("name", APART)
def test_headers_tell_acquisitions_apart(tmp_path, name):
    change, why = APART[name]
    write_two(tmp_path, change)
    first, second = (claim_of(read_series(tmp_path / of / "stress_SA_NC.dcm")) for of in ("first", "second"))
    assert apart(first, second) == apart(second, first) == why
    assert apart(first, first) == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda ds: setattr(ds, "PatientName", " synthetic^secret-id^^ "),
        lambda ds: setattr(ds, "PatientPosition", "FFS"),
        lambda ds: delattr(ds, "PatientOrientationCodeSequence"),
        lambda ds: (delattr(ds, "AcquisitionTime"), delattr(ds, "AcquisitionDate")),
        lambda ds: setattr(ds, "AcquisitionTime", "101500.000"),
        lambda ds: setattr(ds, "InstanceCreationTime", "235959"),
        lambda ds: setattr(ds, "SeriesTime", "235959"),
    ],
)
def test_what_differs_within_one_acquisition_does_not_part_it(tmp_path, change):
    write_planes(tmp_path)
    before = claim_of(read_series(tmp_path / "stress_SA_NC.dcm"))
    edit(tmp_path / "stress_VLA_NC.dcm", change)
    assert apart(before, claim_of(read_series(tmp_path / "stress_VLA_NC.dcm"))) == ""
    _, study = scales(tmp_path)
    assert all(len(others) == 2 for others in study.partners)
    assert study.warnings == ()


def test_a_plane_without_its_short_axis_is_scaled_by_itself_and_told(tmp_path):
    write_two(tmp_path, APART["time"][0])
    (tmp_path / "second" / "stress_SA_NC.dcm").unlink()
    found, study = scales(tmp_path)
    own = count_scale(pydicom.dcmread(tmp_path / "second" / "stress_HLA_NC.dcm").pixel_array, (6.8, 6.8, 6.8))
    assert found["second/HLA"] == found["second/VLA"] == pytest.approx(own)
    (said,) = study.warnings
    assert "second/stress_HLA_NC.dcm: no other plane is of its acquisition (time of acquisition)" in said


@pytest.mark.parametrize("factor", [0.25, 2.0])
def test_a_plane_that_is_stored_on_another_scale_has_the_short_axis_scale_in_its_own_counts(tmp_path, factor):
    write_planes(tmp_path)
    plain, _ = scales(tmp_path)
    edit(tmp_path / "stress_VLA_NC.dcm", lambda ds: store(ds, np.rint(counts_of(ds) * factor)))
    found, study = scales(tmp_path)
    folder = tmp_path.name
    assert found[f"{folder}/VLA"] == pytest.approx(factor * plain[f"{folder}/VLA"], rel=0.01)
    assert {key: found[key] for key in found if "VLA" not in key} == {k: plain[k] for k in plain if "VLA" not in k}
    assert all(len(others) == 2 for others in study.partners)
    (said,) = study.warnings
    assert "times those of another plane" in said


def test_planes_that_share_no_voxels_share_a_scale_where_their_counts_are_alike(tmp_path):
    write_planes(tmp_path)
    edit(tmp_path / "stress_VLA_NC.dcm", lambda ds: setattr(ds, "FrameOfReferenceUID", "1.2.3"))
    edit(tmp_path / "stress_VLA_NC.dcm", lambda ds: store(ds, np.roll(counts_of(ds), 2, axis=1)))
    found, study = scales(tmp_path)
    assert len(set(found.values())) == 1
    edit(tmp_path / "stress_VLA_NC.dcm", lambda ds: store(ds, np.rint(1.5 * counts_of(ds))))
    found, study = scales(tmp_path)
    assert found[f"{tmp_path.name}/VLA"] == pytest.approx(1.5 * found[f"{tmp_path.name}/SA"], rel=0.02)
    assert "so it is scaled by itself" in study.warnings[0]


def test_two_patients_under_one_uid_are_two_studies(tmp_path):
    write_two(tmp_path, APART["patient's number"][0])
    found = find_studies([tmp_path])
    assert [{source.path.parent.name for source in study} for study in found.studies] == [{"first"}, {"second"}]
    results = list(Corrector(Times(1.5)).map([tmp_path]))
    assert [len(result.counts) for result in results] == [3, 3]
    for result in results:
        assert all("another patient have the same Study Instance UID" in text for text in result.warnings)
        assert not any("OTHER" in text or "SECRET" in text for text in result.warnings)
    (alone,) = Corrector(Times(1.5)).map([tmp_path / "first"])
    for counts, expected in zip(results[0].counts, alone.counts):
        np.testing.assert_array_equal(counts, expected)


POSTURES = {
    "HFS": ("supine", "head first"),
    "FFS": ("supine", "feet first"),
    "HFP": ("prone", "head first"),
    "FFP": ("prone", "feet first"),
    "HFDR": ("on the right side", "head first"),
    "FFDL": ("on the left side", "feet first"),
    "": ("supine", "feet first"),
    "nonsense": ("supine", "feet first"),
}


@pytest.mark.parametrize("code", POSTURES)
@pytest.mark.filterwarnings("ignore:.*VR CS")
def test_how_a_patient_lay(tmp_path, code):
    write_planes(tmp_path, ["SA"])
    path = tmp_path / "stress_SA_NC.dcm"
    # Its codes say supine and feet first.
    edit(path, lambda ds: setattr(ds, "PatientPosition", code))
    series = read_series(path)
    assert lying(series.header) == POSTURES[code]
    unusual = POSTURES[code][0] != "supine"
    assert [POSTURES[code][0] in note for note in series.notes] == [True] * unusual


@pytest.mark.parametrize("code", [code for code in POSTURES if code not in ("", "nonsense")])
def test_what_is_written_says_it_by_codes_alone(tmp_path, code):
    write_planes(tmp_path / "in", ["SA"])
    edit(tmp_path / "in" / "stress_SA_NC.dcm", lambda ds: setattr(ds, "PatientPosition", code))
    report = correct_files([tmp_path / "in"], tmp_path / "out", Times())
    header = pydicom.dcmread(report.written[0])
    assert "PatientPosition" not in header
    assert lying(header) == POSTURES[code]
    if shutil.which("dciodvfy"):
        assert complaints(report.written[0]) == set()


@pytest.mark.parametrize(
    ("text", "posture"),
    [
        ("MPI 腹臥位", "prone"),
        ("STRESSPRONE", "prone"),
        ("на животе", "prone"),
        ("Rückenlage", "supine"),
        ("ventral", ""),
    ],
)
def test_how_a_patient_lay_in_words(text, posture):
    assert lying_in([text]) == posture
    assert lying_in([f"{text} SUPINE"]) == ("" if posture == "prone" else "supine")


@pytest.mark.parametrize(
    ("code", "posture"),
    [("1240000", "prone"), ("F-10310", "prone"), ("102535000", "on the right side"), ("33586001", "upright")],
)
def test_how_a_patient_lay_by_codes(tmp_path, code, posture):
    write_planes(tmp_path, ["SA"])
    path = tmp_path / "stress_SA_NC.dcm"

    def change(ds):
        ds.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence[0].CodeValue = code

    edit(path, change)
    (note,) = read_series(path).notes
    assert ("upright" if posture == "upright" else f"lay {posture}") in note


def test_an_identity_is_a_hash_and_damage_says_nothing(tmp_path):
    write_planes(tmp_path, ["SA"])
    header = read_series(tmp_path / "stress_SA_NC.dcm").header
    found = identity(header)
    assert len(found) == 64
    assert "SECRET" not in repr(facts_of(header))
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "IssuerOfPatientID"):
        if keyword in header:
            del header[keyword]
    assert identity(header) == ""
    header.AcquisitionTime, header.EnergyWindowInformationSequence = None, None
    facts = facts_of(header)
    assert (facts.moment, facts.window, facts.lying) == ("", (), "supine")
