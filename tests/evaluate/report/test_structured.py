"""The report's numbers as a DICOM structured report, read back by highdicom."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from dcmtk import complaints, dcmtk
from fake_study import Times, write_nc
from fake_ventricle import drawn, image
from patience import HANGS_S

from spectac_fast import read_study, write_corrected
from spectac_fast.cli import main
from spectac_fast.errors import InputError
from spectac_fast.evaluate.regional.segments import SEGMENT_NAMES
from spectac_fast.evaluate.report import gather
from spectac_fast.evaluate.report.analysis import analyse
from spectac_fast.evaluate.report.forms.measured import SEGMENTS, comments_of, groups_of
from spectac_fast.evaluate.report.write import write_report
from spectac_fast.formats.dicom.elements import stable_uid
from spectac_fast.formats.dicom.summary.structured import write_measurements

highdicom = pytest.importorskip("highdicom", reason="needs highdicom (extra: sr)")
PHASES = ("stress", "rest")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Short axes of a heart whose inferior half gets 30 % brighter."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng()
    heart = replace(drawn(rng), centre_mm=(-12.0, 3.0, -4.0))
    for phase in PHASES:
        write_nc(folder / "in" / f"DOE_JOHN_{phase}_SA.dcm", image(heart, rng=rng), phase=phase)
    study = read_study(folder / "in")
    brighter = [s.counts * np.where(np.arange(64) > 31, 1.3, 1.0)[:, None].astype(np.float32) for s in study.series]
    write_corrected(study, brighter, folder / "out")
    return folder


def examine(*paths, translator=None):
    (series,), _ = gather.gather(paths)
    study = gather.study_of(series, translator)
    return study, analyse(study)


@pytest.fixture(scope="module")
def examined(run):
    """The study and its phases."""
    return examine(run)


def written(path, study, phases):
    """The structured report by highdicom: {tracking identifier: group}, and the object."""
    write_measurements(groups_of(study, phases), comments_of(study, phases), path)
    found = highdicom.sr.srread(path)
    return {group.tracking_identifier: group for group in found.content.get_image_measurement_groups()}, found


@pytest.fixture(scope="module")
def report(examined, tmp_path_factory):
    """That of the study: its file, its groups, and the object."""
    path = tmp_path_factory.mktemp("report") / "r.sr.dcm"
    return path, *written(path, *examined)


def texts(ds):
    return [element.value for element in ds.iterall() if element.keyword == "TextValue"]


def numbers(group):
    """{code of the site, or else of what was measured: value}."""
    found = {}
    for one in group.get_measurements():
        (site,) = one.finding_sites or [None]
        key = site.value.value if site else one.name.value
        assert key not in found
        found[key] = one.value
    return found


def sources(group):
    images = [item for item in group[0].ContentSequence if item.ValueType == "IMAGE"]
    return [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in images]


def uid_of(folder, phase):
    headers = [pydicom.dcmread(path) for path in folder.rglob("*.dcm")]
    state = {"stress": "432655005 109091", "rest": "128975004"}[phase]
    (found,) = [
        ds.SOPInstanceUID
        for ds in headers
        if ds.AcquisitionContextSequence[0].ConceptCodeSequence[0].CodeValue in state.split()
    ]
    return found


def test_the_numbers_are_those_of_the_report(run, examined, report):
    (_, phases), (_, groups, _) = examined, report
    assert list(groups) == [
        *("stress NC", "stress Corrected", "rest NC", "rest Corrected"),
        *("stress minus rest NC", "stress minus rest Corrected"),
    ]
    for phase in phases:
        for kind, name in (("NC", "NC"), ("corrected", "Corrected")):
            found = numbers(groups[f"{phase.name} {name}"])
            deficit = phase.deficits[kind]
            for (_, site, _), value in zip(SEGMENTS, phase.segments[kind]):
                assert found.pop(site) == pytest.approx(value, abs=0.0501)
            assert found.pop({"stress": "SSS", "rest": "SRS"}[phase.name]) == deficit.summed
            for key, value in (("TPD", deficit.total), ("427751006", deficit.extent), ("SEVERITY", deficit.severity)):
                assert found.pop(key) == pytest.approx(value, abs=0.0501)
            assert found == {}
            folder = run / ("in" if kind == "NC" else "out")
            assert sources(groups[f"{phase.name} {name}"]) == [uid_of(folder, phase.name)]
    stress, rest = (phase.deficits for phase in phases)
    for kind, name in (("NC", "NC"), ("corrected", "Corrected")):
        group = groups[f"stress minus rest {name}"]
        assert numbers(group) == {"SDS": stress[kind].summed - rest[kind].summed}
        assert sources(group) == [uid_of(run / ("in" if kind == "NC" else "out"), phase) for phase in PHASES]


def test_segments_have_the_codes_of_the_standard():
    from pydicom.sr.codedict import codes

    names = [name for name in dir(codes.cid3717) if name[0].isupper()]
    standard = {getattr(codes.cid3717, name).value: getattr(codes.cid3717, name).meaning for name in names}
    assert len(SEGMENTS) == len(SEGMENT_NAMES) == 17
    for (scheme, value, meaning), name in zip(SEGMENTS, SEGMENT_NAMES):
        assert scheme == "SCT"
        assert standard.pop(value) == meaning
        assert name in meaning.lower()
    assert standard == {}


def test_phase_and_correction_are_coded(report):
    _, groups, found = report
    said = {
        name: {one.name.meaning: one.value.meaning for one in group.get_qualitative_evaluations()}
        for name, group in groups.items()
    }
    assert said["stress NC"] == {
        "Patient State": "Cardiac Stress State",
        "Attenuation correction method": "No Attenuation Correction",
    }
    assert said["rest Corrected"] == {
        "Patient State": "Resting State",
        "Attenuation correction method": "Algorithmic Attenuation Correction",
    }
    comments = [item.value for item in found.content[0].ContentSequence if item.name.meaning == "Comment"]
    assert comments[0] == "Research use only, not a medical device."
    assert "without CT" in comments[1]
    assert found.CompletionFlag == "COMPLETE"
    assert (found.VerificationFlag, found.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")


def test_it_lies_in_the_study_and_is_valid(run, report):
    path, _, found = report
    source = pydicom.dcmread(next((run / "in").iterdir()))
    for keyword in ("PatientID", "PatientName", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime"):
        assert found[keyword].value == source[keyword].value
    assert found.ContentDate == source.StudyDate
    assert found.SeriesInstanceUID not in (source.SeriesInstanceUID, found.StudyInstanceUID)
    assert {uid for _, _, uid, _ in found.get_evidence()} == {uid_of(run / k, p) for k in ("in", "out") for p in PHASES}
    assert not any(element.tag.is_private for element in found.iterall())
    assert "DOE" not in str(found)
    if shutil.which("dciodvfy"):
        assert complaints(path) == set()
    if dsrdump := dcmtk("dsrdump"):
        read = subprocess.run([dsrdump, path], capture_output=True, timeout=HANGS_S, check=True)
        assert b"Myocardial perfusion" in read.stdout


def test_equal_numbers_are_equal_bytes_and_others_another_object(examined, report, tmp_path):
    study, (stress, rest) = examined
    path, _, first = report
    write_measurements(groups_of(*examined), comments_of(*examined), tmp_path / "again.dcm")
    assert (tmp_path / "again.dcm").read_bytes() == path.read_bytes()
    moved = [replace(stress, segments=stress.segments | {"NC": stress.segments["NC"] + 1}), rest]
    write_measurements(groups_of(study, moved), comments_of(*examined), tmp_path / "other.dcm")
    other = pydicom.dcmread(tmp_path / "other.dcm")
    assert first.SOPInstanceUID != other.SOPInstanceUID
    assert first.SeriesInstanceUID != other.SeriesInstanceUID


def test_of_what_was_corrected_in_memory_the_nc_images_are_named(run, tmp_path):
    study, phases = examine(run / "in", translator=Times(1.3))
    groups, found = written(tmp_path / "r.sr.dcm", study, phases)
    for phase in PHASES:
        for kind in ("NC", "Corrected"):
            assert sources(groups[f"{phase} {kind}"]) == [uid_of(run / "in", phase)]
    assert any("never written" in text for text in texts(groups["rest Corrected"][0]))
    assert not any("never written" in text for text in texts(groups["rest NC"][0]))
    assert any("nothing corrected was at hand" in text for text in texts(found))


def test_slices_in_files_of_their_own_are_all_named(examined, tmp_path):
    study, phases = examined
    several = tuple(stable_uid("slice", str(k)) for k in range(3))
    nc = study.series["NC"]
    of_slices = nc | {("rest", "SA"): replace(nc["rest", "SA"], instances=several)}
    groups, _ = written(tmp_path / "r.sr.dcm", replace(study, series={**study.series, "NC": of_slices}), phases)
    assert sources(groups["rest NC"]) == list(several)


def test_without_limits_there_are_segments_alone(examined, tmp_path):
    study, phases = examined
    groups, _ = written(tmp_path / "r.sr.dcm", study, [replace(phase, deficits={}) for phase in phases])
    assert list(groups) == ["stress NC", "stress Corrected", "rest NC", "rest Corrected"]
    assert {len(numbers(group)) for group in groups.values()} == {17}


def test_texts_suit_every_character_set(examined, tmp_path):
    write_measurements(groups_of(*examined), ["Patient’s −3 × é\\"], tmp_path / "r.sr.dcm")
    assert b"Patient's -3 x ??" in (tmp_path / "r.sr.dcm").read_bytes()


def test_the_command_writes_it_beside_the_page(run, tmp_path, capsys):
    page = tmp_path / "r.html"
    assert main(["report", str(run), "-o", str(page), "--sr", "--dicom"]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in ("r.html", "r.dcm", "r.sr.dcm")]
    first = (tmp_path / "r.sr.dcm").read_bytes()
    # It may be replaced, and is no image where it lies among them.
    assert main(["report", str(run), str(tmp_path / "r.sr.dcm"), "-o", str(tmp_path / "again.html"), "--sr"]) == 0
    assert (tmp_path / "again.sr.dcm").read_bytes() == first


def test_without_highdicom_it_says_what_to_install(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert main(["report", str(run), "-o", str(tmp_path / "r.html"), "--sr"]) == 4
    assert capsys.readouterr().err == (
        "spectac: DICOM structured reports need highdicom: pip install 'spectac_fast[sr]'.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_where_there_is_nothing_to_measure_it_says_so(examined, tmp_path):
    study, _ = examined
    every = [one for of in study.series.values() for one in of.values()]
    for series, form, said in (
        ([replace(one, plane="VLA") for one in every], "measurements", "expected a short-axis series"),
        ([replace(one, header=None) for one in every], "measurements", "expected DICOM series"),
        ([replace(one, header=None) for one in every], "dicom", "expected DICOM series"),
    ):
        with pytest.raises(InputError, match=said):
            write_report(series, tmp_path / "r.html", model=lambda: Times(1.3), **{form: True})
    assert list(tmp_path.iterdir()) == []
