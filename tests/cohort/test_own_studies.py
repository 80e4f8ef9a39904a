"""Pairs of one's own studies: what is matched, what is not and why, on which voxels, on which grid."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pydicom
import pytest
from exported import Export, an_hour_later, coarser, smaller_pixels
from fake_study import ORIENTATIONS

from spectac_fast import cli, read_study, write_corrected
from spectac_fast.cohort.joined import JoinedCohort
from spectac_fast.cohort.own.aligned import NoPairError, aligned
from spectac_fast.cohort.own.grid import OneGrid
from spectac_fast.cohort.own.matching import ALONE, COPY, OTHER, OURS, SEVERAL, UNREAD, match
from spectac_fast.cohort.own.places import folder_kind, patient_of, told_by
from spectac_fast.cohort.own.studies import StudyPairs
from spectac_fast.cohort.paired import facts_of_patient
from spectac_fast.data.lineup import kind_of
from spectac_fast.errors import InputError
from spectac_fast.formats.dicom import read_series
from spectac_fast.formats.evidence import image, weigh
from spectac_fast.formats.series import Series, Told


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tmp_path_factory.mktemp("source") / "study"


@pytest.fixture
def export(tmp_path, source):
    return Export(tmp_path / "export", source)


def why(studies):
    return sorted(left.why for left in studies.left)


def test_what_an_export_holds_is_matched_or_listed(export):
    """One patient with everything that is no pair beside the one that is."""
    nc, _ = export.pair("A", "stress_SA")
    export.put("A", "rest_SA_AC")
    export.put("A", "stress_VLA_NC")
    export.pdf("A")
    export.put("A", "stress_SA_NC", counts=lambda v: v + 1)
    export.pair("A", "stress_SA", change=an_hour_later, counts=lambda v: v + 2)
    (export.folder / "README").write_text("no DICOM")
    source = read_study(nc)
    write_corrected(source, [1.4 * one.counts for one in source.series], export.folder / "ours")
    studies = StudyPairs(export.folder)
    assert [studies.series(i) for i in range(len(studies))] == [[("stress", "SA")]]
    assert why(studies) == sorted(
        [
            ALONE.format("NC"),
            ALONE.format("AC"),
            UNREAD,
            SEVERAL.format("NC"),
            *[OTHER.format("time of acquisition")] * 2,
            OURS,
        ]
    )
    for left in studies.left:
        assert left.said.startswith(str(export.folder)), left.said
        assert str(export.folder) not in left.why
    taken = {path for of in studies.about(0).values() for path in of.paths}
    assert len(taken) == 2
    assert all(path.is_file() for path in taken)


def test_counts_are_those_of_the_files(export):
    nc, ac = export.pair("A", "stress_SA")
    studies = StudyPairs(export.folder)
    for found, path in zip(studies.pair(0, "stress", "SA"), (nc, ac), strict=True):
        np.testing.assert_array_equal(found, read_series(path).counts)
    # What is no longer kept is read again.
    studies._shelf.clear()
    studies._kept = None
    np.testing.assert_array_equal(studies.pair(0, "stress", "SA")[1], read_series(ac).counts)
    nc.unlink()
    studies._kept = None
    with pytest.raises(InputError, match=r"^patient 1: expected files at rest"):
        studies.pair(0, "stress", "SA")


def test_days_of_one_patient_are_one_and_repetitions_are_not(export):
    """Stress and rest in studies of their own; then the same identity twice, as in exports without names."""
    export.pair("A", "stress_SA", study="one")
    export.pair("A", "rest_SA", study="two")
    studies = StudyPairs(export.folder)
    assert [studies.series(i) for i in range(len(studies))] == [[("stress", "SA"), ("rest", "SA")]]
    assert studies.notes == []
    export.pair("A", "stress_SA", study="three", counts=lambda v: v + 3)
    again = StudyPairs(export.folder)
    assert len(again) == 3
    assert [note[:9] for note in again.notes] == ["3 studies"]


def test_a_copy_and_a_series_that_is_not_corrected_are_no_pairs(export):
    export.pair("A", "stress_SA")
    export.pair("B", "stress_SA")
    export.put("C", "rest_SA_NC")
    export.put("C", "rest_SA_AC", counts=None, change=lambda ds: setattr(ds, "PixelData", _nc_times_two(export)))
    studies = StudyPairs(export.folder)
    assert len(studies) == 1
    assert why(studies)[-2:] == [COPY] * 2
    assert sum("nothing was corrected" in reason for reason in why(studies)) == 2


def _nc_times_two(export):
    ds = pydicom.dcmread(export._source / "rest_SA_NC.dcm")
    return (np.frombuffer(ds.PixelData, "<u2").astype(float) * 1.5).astype("<u2").tobytes()


def test_ac_of_another_size_is_brought_to_the_voxels_of_nc(export):
    nc, ac = export.pair("A", "stress_SA")
    nc, ac = read_series(nc), read_series(ac)
    whole = aligned(nc, ac)
    assert (whole.note, whole.ac.shape) == ("", nc.counts.shape)
    # Fewer slices, cut elsewhere, in the same coordinates.
    step = ac.slice_mm * np.cross(ac.orientation[:3], ac.orientation[3:])
    cut = replace(ac, counts=ac.counts[2:], position=tuple(np.add(ac.position, 2 * step)))
    pair = aligned(nc, cut)
    assert "interpolated" in pair.note
    assert (pair.part[0].start, pair.part[0].stop) == (2, 29)
    np.testing.assert_allclose(pair.ac, ac.counts[2:], atol=1e-2 * ac.counts.max())
    assert pair.of_nc(nc.counts).shape == pair.ac.shape == pair.heart.shape
    np.testing.assert_array_equal(pair.on_nc(pair.ac)[2:], pair.ac)
    assert not pair.on_nc(pair.ac)[:2].any()
    # Voxels that agree are believed against a position that does not.
    astray = replace(ac, position=tuple(np.add(ac.position, (20.0, 0, 0))))
    assert aligned(nc, astray).note == ""
    with pytest.raises(NoPairError, match="whole heart region"):
        aligned(nc, replace(ac, counts=ac.counts[:12]))
    elsewhere = np.zeros_like(ac.counts)
    elsewhere[:, :, 40:] = ac.counts[:, :, 40:]
    with pytest.raises(NoPairError, match="do not show one heart"):
        aligned(nc, replace(ac, counts=elsewhere))
    strange = replace(cut, header=None)
    with pytest.raises(NoPairError, match="share no coordinates"):
        aligned(nc, strange)


def test_one_grid_for_all(export):
    """A camera of other pixels is resampled as `correct` does it; a told grid goes before the commonest."""
    export.pair("A", "stress_SA")
    export.pair("B", "stress_SA", counts=lambda v: coarser(v) + 1, change=smaller_pixels)
    studies = StudyPairs(export.folder)
    found = {grid[:2]: grid[2][1] for grid in studies.grids()}
    assert found == {(64, 64): 6.8, (48, 48): 6.0}
    own = next(i for i in range(2) if studies.spacing_of(i, "stress", "SA")[1] == 6.8)
    grid = OneGrid(studies, (6.8, 6.8, 6.8))
    assert grid.shape == (64, 64)
    for i in range(2):
        for stack in grid.pair(i, "stress", "SA"):
            assert stack.shape[1:] == (64, 64)
    np.testing.assert_array_equal(grid.pair(own, "stress", "SA")[0], studies.pair(own, "stress", "SA")[0])
    other, before = grid.pair(1 - own, "stress", "SA")[0], studies.pair(1 - own, "stress", "SA")[0]
    assert other.sum() * 6.8**2 == pytest.approx(before.sum() * 6.0**2, rel=0.02)
    assert not other[:, :8].any()
    finer = OneGrid(studies, (3.4, 6.8, 6.8), (32, 32))
    assert finer.pair(own, "stress", "SA")[0].shape == (58, 32, 32)
    with pytest.raises(InputError, match="pixels of"):
        OneGrid(studies, (6.8, 30.0, 30.0))


def test_nifti_pairs_by_folders_and_by_names(export, tmp_path, monkeypatch):
    """NC/ and AC/ above a patient's files, or NC and AC in the names; what this program wrote is no AC."""
    nc, ac = (read_series(path) for path in export.pair("A", "stress_SA"))
    folder = tmp_path / "nifti"
    names = {
        "NC/p01_stress_SA.nii.gz": nc,
        "AC/p01_stress_SA.nii.gz": ac,
        "second/p02_rest_SA_NC.nii": nc,
        "second/p02_rest_SA_AC.nii": ac,
        "second/p02_rest_SA_NC_DL-AC.nii": ac,
        "alone/p03_rest_SA_AC.nii": ac,
    }
    for k, (name, series) in enumerate(names.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        # Each patient has counts of his own.
        data = series.counts.transpose(2, 1, 0) + np.float32(k // 2)
        nibabel.save(nibabel.Nifti1Image(data, np.diag([-6.8, -6.8, 6.8, 1])), folder / name)
    studies = StudyPairs(folder)
    assert sorted(studies.series(i)[0] for i in range(len(studies))) == [("rest", "SA"), ("stress", "SA")]
    assert why(studies) == sorted([OURS, ALONE.format("NC")])
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "linear", "--data", folder.name, "-o", "run"]) == 0


@pytest.mark.parametrize(
    ("path", "patient", "told"),
    [
        ("NC/p01_stress_SA.nii", "P01", Told("SA", "stress", kind="NC")),
        ("AC/p01/rest/vla.nii.gz", "P01", Told("VLA", "rest", kind="AC")),
        ("p01_stress_SA_noAC.nii", "P01", Told("SA", "stress")),
        ("p 01/not corrected/STRESS SA.nii", "P 01", Told("SA", "stress", kind="NC")),
        ("stress_SA_AC.nii", "", Told("SA", "stress")),
    ],
)
def test_names_tell_whose_and_what_a_file_is(tmp_path, path, patient, told):
    assert patient_of(tmp_path / path, tmp_path) == patient
    assert told_by(tmp_path / path, tmp_path) == told
    assert folder_kind(tmp_path / path, tmp_path) == told.kind


def test_a_dicom_file_of_an_open_kind_is_what_its_folder_says(export, monkeypatch):
    """The header tells nothing and the image is told to leave it open: the folder decides, and only then."""
    silent = {"CorrectedImage": None, "SeriesDescription": "stress SA", "ImageID": "", "ImageComments": ""}

    def hush(ds):
        for keyword, value in silent.items():
            setattr(ds, keyword, value)

    for kind in ("NC", "AC"):
        path = export.put("A", f"stress_SA_{kind}", change=hush)
        (export.folder / kind).mkdir()
        path.rename(export.folder / kind / "1")
    monkeypatch.setattr(weigh, "opinion", lambda *of: image.UNKNOWN)
    monkeypatch.chdir(export.folder.parent)
    studies = StudyPairs(export.folder.name)
    assert studies.series(0) == [("stress", "SA")]
    assert [path.parent.name for path in studies.about(0)["stress", "SA"].paths] == ["NC", "AC"]


def test_no_pair_is_one_sentence(export, tmp_path, capsys):
    export.put("A", "stress_SA_NC")
    with pytest.raises(InputError) as refused:
        match(export.folder)
    assert ALONE.format("AC") in str(refused.value)
    for command in (["train", "linear"], ["evaluate", "--models", "linear"]):
        assert cli.main([*command, "--data", str(export.folder), "-o", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err == f"spectac: {refused.value}\n"
    assert not (tmp_path / "out").exists()


def test_spacing_of_files_that_say_their_own_is_not_told(export, tmp_path, capsys):
    export.pair("A", "stress_SA")
    words = ["evaluate", "--data", str(export.folder), "--models", "linear", "-o", str(tmp_path / "out")]
    assert cli.main([*words, "--pixel-mm", "5"]) == 2
    assert "say their own" in capsys.readouterr().err
    read = []
    StudyPairs(export.folder, lambda: read.append(1))
    assert len(read) == 2


def test_what_this_program_wrote_is_told_by_a_volumes_name(tmp_path):
    one = Series(np.ones((3, 4, 4), np.float32), "SA", "rest", (1, 1), 1, ORIENTATIONS["SA"], (0, 0, 0), True, tmp_path)
    for name, kind in (("a_AC.nii", "AC"), ("a_DL-AC.nii.gz", "corrected"), ("a_DL-AC-SD.npy", "SD")):
        assert kind_of(replace(one, path=tmp_path / name)) == kind


def test_what_headers_say_of_a_patient_is_known(export):
    """On one grid and beside other cohorts too; whether an AC keeps its scatter is the department's own affair."""

    def seen(ds):
        ds.PatientSize, ds.PatientWeight = "1.70", "86.7"
        ds.CorrectedImage = ["UNIF", "ATTN"] if "ATTN" in ds.CorrectedImage else ["UNIF"]

    export.pair("A", "stress_SA", change=seen)
    studies = StudyPairs(export.folder)
    known = studies.facts_of(0)
    assert known.bmi == pytest.approx(30.0)
    assert (known.arc, known.scatter_corrected, known.keeps_scatter) == (180.0, False, None)
    assert facts_of_patient(JoinedCohort([OneGrid(studies)]), 0) == facts_of_patient(studies, 0) == known
