"""Patients, cohorts on disk and the command that makes them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from patience import HANGS_S

from spectac_fast import reconstruct
from spectac_fast.cohort.cohort import Cohort, split_of
from spectac_fast.cohort.map_cohort import MapCohort
from spectac_fast.data.scale import heart_mask, to_counts, to_model
from spectac_fast.errors import InputError
from spectac_fast.formats.dicom import read_series
from spectac_fast.phantom.heart import axes, ventricle
from spectac_fast.phantom.people import draw
from spectac_fast.reconstruct.planes import cuts, operator_axes

pytestmark = pytest.mark.chain

SEED = 650_123


def spectac(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spectac_fast.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )


@pytest.fixture(scope="module")
def array_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "npy"
    done = spectac(
        "phantom", "--cases", "2", "--seed", SEED, "-o", folder, "--format", "npy", "--jobs", "2", "-d", "cpu"
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def dicom_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "dicom"
    command = ("phantom", "--cases", "1", "--seed", SEED, "-o", folder, "--jobs", "1", "-d", "cpu", "--projections")
    done = spectac(*command)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_seed_always_gives_the_same_patient() -> None:
    assert draw(SEED) == draw(SEED)
    assert draw(SEED) != draw(SEED + 1)


def test_the_population_is_the_documented_one() -> None:
    patients = [draw(seed) for seed in range(470_000, 470_600)]
    men = [p for p in patients if p.sex == "M"]
    assert len(men) / len(patients) == pytest.approx(0.62, abs=0.08)
    assert np.mean([p.edv for p in men]) == pytest.approx(113, abs=5)
    assert np.mean([p.normal for p in patients]) == pytest.approx(0.45, abs=0.08)
    excursion = np.array([p.respiration_sd / 0.354 for p in patients])
    assert (excursion > 10).mean() == pytest.approx(0.33, abs=0.07)
    assert np.median(excursion) == pytest.approx(8, abs=0.8)


def test_the_ventricle_keeps_its_muscle_and_empties_by_its_ejection_fraction() -> None:
    for seed in range(SEED, SEED + 20):
        patient = draw(seed)
        shells = ventricle(patient).shells
        end_systole = min(shells, key=lambda s: s.endo_length)
        end_diastole = max(shells, key=lambda s: s.endo_length)
        assert end_systole.epi_radius - end_systole.endo_radius > end_diastole.epi_radius - end_diastole.endo_radius
        assert end_systole.endo_length < end_diastole.endo_length


def test_planes_are_right_handed_and_run_as_documented() -> None:
    heart = axes(draw(SEED))
    for plane, cut in cuts(heart).items():
        assert np.allclose(np.cross(cut.right, cut.down), cut.frames), plane
    sa = cuts(heart)["SA"]
    assert sa.frames @ heart.long == pytest.approx(-1)
    assert sa.down @ heart.up == pytest.approx(-1)
    assert np.sign(heart.long).tolist() == [1, -1, -1]


def test_both_formats_hold_the_same_counts(array_cohort: Path, dicom_cohort: Path) -> None:
    array, dicom = Cohort(array_cohort), Cohort(dicom_cohort)
    assert array.seeds == [SEED, SEED + 1]
    assert array.cases[0] == dicom.cases[0]
    for phase in ("stress", "rest"):
        for plane in ("SA", "VLA", "HLA"):
            for one, other in zip(array.pair(0, phase, plane), dicom.pair(0, phase, plane), strict=True):
                assert one.shape == (29, 64, 64)
                assert np.array_equal(one, other)
            assert np.array_equal(array.truth(0, phase, plane), dicom.truth(0, phase, plane))
        assert array.scale(0, phase) == dicom.scale(0, phase) > 50


def test_attenuation_lowers_counts_and_correction_restores_the_truth(array_cohort: Path) -> None:
    cohort = Cohort(array_cohort)
    mask = heart_mask((29, 64, 64), cohort.spacing_mm, 45)
    for i in range(len(cohort)):
        nc, ac = (stack[mask].mean() for stack in cohort.pair(i, "stress", "SA"))
        truth = cohort.truth(i, "stress", "SA")[mask].mean()
        assert nc < 0.5 * truth
        assert ac == pytest.approx(truth, rel=0.2)


def test_planes_show_the_same_voxels(array_cohort: Path) -> None:
    """The stack centre is one point of the patient: all three planes hold the same counts about it."""
    cohort = Cohort(array_cohort)
    centre = [cohort.truth(0, "rest", plane)[13:16, 30:34, 30:34].mean() for plane in ("SA", "VLA", "HLA")]
    assert np.ptp(centre) < 0.25 * np.mean(centre)


def test_a_finished_cohort_is_kept_and_another_request_is_refused(array_cohort: Path) -> None:
    before = (array_cohort / "cohort.npy").stat().st_mtime_ns
    arguments = ("--seed", SEED, "-o", array_cohort, "--format", "npy", "-d", "cpu")
    assert spectac("phantom", "--cases", "2", *arguments).returncode == 0
    assert (array_cohort / "cohort.npy").stat().st_mtime_ns == before
    other = spectac("phantom", "--cases", "3", *arguments)
    assert other.returncode == 2
    assert "another" in other.stderr or "expected an empty folder" in other.stderr
    begun, sentence = other.stderr.strip().splitlines()
    assert begun == "phantom: 0/3 cases"
    assert sentence.startswith("spectac: ")


def test_an_interrupted_run_resumes_to_the_same_bytes(array_cohort: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(array_cohort, folder)
    index = json.loads((folder / "index.json").read_text())
    (folder / ".unfinished.json").write_text(json.dumps({**index, "cases": index["cases"][:1]}))
    (folder / "index.json").unlink()
    counts = np.load(folder / "cohort.npy", mmap_mode="r+")
    counts[1] = 7
    counts.flush()
    done = spectac("phantom", "--cases", "2", "--seed", SEED, "-o", folder, "--format", "npy", "-d", "cpu")
    assert done.returncode == 0, done.stderr
    for name in ("cohort.npy", "index.json"):
        assert (folder / name).read_bytes() == (array_cohort / name).read_bytes(), name
    assert not (folder / ".unfinished.json").exists()


@pytest.mark.parametrize(
    "arguments", [("--cases", "0", "--seed", "1"), ("--cases", "1", "--seed", "-4"), ("--seed", "1")]
)
def test_bad_arguments_are_usage_errors(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = spectac("phantom", *arguments, "-o", tmp_path / "c")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "c").exists()


def test_a_folder_without_a_cohort_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a cohort"):
        Cohort(tmp_path)
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        Cohort(tmp_path)
    (tmp_path / "index.json").write_text(
        json.dumps({"format": 1, "pixel_mm": 6.8, "slice_mm": 6.8, "cases": [{"seed": 1}]})
    )
    np.save(tmp_path / "cohort.npy", np.zeros((1, 2), np.float32))
    with pytest.raises(InputError, match="expected uint16"):
        Cohort(tmp_path)


def test_splits_are_by_seed() -> None:
    assert [split_of(s) for s in (0, 499_999, 500_000, 650_000, 800_000, 900_000)] == [
        "train", "train", "validation", "test", "unassigned", "reserved",
    ]  # fmt: skip


def test_scale_round_trip_keeps_counts() -> None:
    counts = np.random.default_rng().uniform(0, 900, (3, 5, 5)).astype(np.float32)
    assert np.allclose(to_counts(to_model(counts, 321.5), 321.5), counts, atol=1e-3)
    assert np.isnan(to_counts(np.array([np.nan]), 2.0)).all()


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The patient of `dicom_cohort` imaged a second time."""
    folder = tmp_path_factory.mktemp("cohort") / "again"
    command = ("phantom", "--cases", "1", "--seed", SEED, "-o", folder, "--jobs", "1", "-d", "cpu")
    done = spectac(*command, "--acquisition", "1")
    assert done.returncode == 0, done.stderr
    return folder


def test_another_acquisition_counts_other_photons_of_the_same_patient(dicom_cohort: Path, again: Path) -> None:
    first, again = Cohort(dicom_cohort), Cohort(again)
    assert again.cases[0]["lv"] == first.cases[0]["lv"]
    for plane in ("SA", "VLA", "HLA"):
        # The true activity differs by the rounding of counts and the total that was counted, the images by noise.
        truth = [cohort.truth(0, "rest", plane) for cohort in (first, again)]
        assert np.abs(truth[0] - truth[1]).max() <= 1
        for one, other in zip(first.pair(0, "rest", plane), again.pair(0, "rest", plane), strict=True):
            inside = heart_mask(one.shape, first.spacing_mm) > 0
            assert 0.01 < np.abs(one - other)[inside].mean() / one[inside].mean() < 0.15


def test_another_acquisition_is_another_study_of_the_same_patient(dicom_cohort: Path, again: Path) -> None:
    name = f"case-{SEED}/stress_SA_NC.dcm"
    first, again = (pydicom.dcmread(folder / name) for folder in (dicom_cohort, again))
    assert first.PatientID == again.PatientID
    assert first.pixel_array.shape == again.pixel_array.shape
    for uid in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert first[uid].value != again[uid].value


def test_another_acquisition_is_another_request(again: Path) -> None:
    command = ("phantom", "--cases", "1", "--seed", SEED, "-o", again, "-d", "cpu")
    other = spectac(*command)
    assert other.returncode == 2
    assert "'acquisition': 1" in other.stderr
    assert spectac(*command, "--acquisition", "-1").stderr.strip().endswith("found -1")


def test_projections_give_the_slices_that_lie_beside_them(dicom_cohort: Path) -> None:
    """At the axes that the simulated operator set; these are turned about the long axis by up to a degree."""
    case = dicom_cohort / f"case-{SEED}"
    patient = draw(SEED)
    operator = operator_axes(axes(patient), patient.centring, patient.tilt)
    axis = (operator.azimuth, operator.elevation, *operator.centre)
    made = reconstruct(case / "rest_TOMO.dcm", axis=axis, planes=("SA", "HLA"))
    assert made.notes[0].startswith("its long axis is as told")
    mask = heart_mask((29, 64, 64), (6.8, 6.8, 6.8), 60)
    for stack in made.stacks:
        beside = read_series(case / f"rest_{stack.plane}_NC.dcm")
        difference = np.abs(stack.counts - beside.counts)[mask].mean()
        assert difference < 0.01 * beside.counts[mask].mean(), stack.plane
        assert np.abs(np.array(stack.position) - beside.position).max() < 3
        assert np.abs(np.array(stack.orientation) - beside.orientation).max() < 0.03


def test_the_long_axis_is_found_again(dicom_cohort: Path) -> None:
    found = reconstruct(dicom_cohort / f"case-{SEED}" / "stress_TOMO.dcm", planes=("SA",))
    true = axes(draw(SEED))
    off = found.axes.centre - true.centre
    assert found.axis is not None
    assert not found.axis.doubts
    assert np.degrees(np.arccos(found.axes.long @ true.long)) < 8
    assert np.linalg.norm(off - (off @ true.long) * true.long) < 4


def test_a_cohort_of_maps_holds_what_the_command_reconstructs(dicom_cohort: Path, tmp_path: Path) -> None:
    command = ("--cases", "1", "--seed", SEED, "-o", tmp_path / "maps", "--format", "maps", "--jobs", "1", "-d", "cpu")
    done = spectac("phantom", *command)
    assert done.returncode == 0, done.stderr
    cohort = MapCohort(tmp_path / "maps")
    for phase in ("stress", "rest"):
        made = reconstruct(dicom_cohort / f"case-{SEED}" / f"{phase}_TOMO.dcm", planes=("TRA",)).volumes["NC"].numpy()
        np.testing.assert_allclose(cohort.volume(0, f"NC_{phase.upper()}"), made, rtol=2e-3, atol=2e-3 * made.max())
    true, ct = cohort.volume(0, "MU"), cohort.volume(0, "MU_CT")
    z, y, x = np.rint(cohort.heart(0)).astype(int)
    assert true[z, y, x] == pytest.approx(0.155, abs=0.01)
    assert true[z, 0, 0] == 0
    # Moved by a breath, and smoother.
    assert 0.001 < np.abs(ct.astype(float) - true).mean() < 0.02
    assert cohort.cases[0]["protocol"]["name"] == "hanoi"
    with pytest.raises(InputError, match="expected cohort format"):
        Cohort(tmp_path / "maps")
    with pytest.raises(InputError, match="expected cohort format 3, found 1"):
        MapCohort(copied_index(dicom_cohort, tmp_path / "other"))


def copied_index(cohort: Path, folder: Path) -> Path:
    """A folder whose index is that of a DICOM cohort."""
    folder.mkdir()
    shutil.copy(cohort / "cohort.json", folder / "index.json")
    np.save(folder / "cohort.npy", np.zeros(1, np.float16))
    return folder
