"""Cohorts of other protocols: the command that makes them, their index, their files, and the grids that they lie on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch

from spectac_fast.cohort.cohort import Cohort
from spectac_fast.cohort.cuts import native_stacks, sampled, working_stacks
from spectac_fast.cohort.joined import JoinedCohort
from spectac_fast.data.geometry.resample import InPlane
from spectac_fast.data.scale import heart_mask
from spectac_fast.errors import InputError
from spectac_fast.formats.dicom import read_series
from spectac_fast.phantom.heart import axes
from spectac_fast.phantom.people import draw
from spectac_fast.phantom.protocol import HANOI, Camera, Field, Protocol
from spectac_fast.phantom.protocols import planned
from spectac_fast.phantom.simulate import Case
from spectac_fast.reconstruct.grid import Grid
from spectac_fast.reconstruct.planes import cuts, operator_axes
from spectac_fast.train.slices import SlicePairs

# Of no split; both drawn with few views. The first is cropped, by FBP and 6.6 mm; the second prone and 6.0 mm.
SEED_DICOM, SEED_ARRAY = 800_685, 801_875


def spectac(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spectac_fast.cli", "phantom", "--jobs", "1", "-d", "cpu"]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("protocols")
    for form, seed in (("dicom", SEED_DICOM), ("npy", SEED_ARRAY)):
        command = ("--cases", "1", "--seed", seed, "--protocol", "random", "--format", form, "-o", folder / form)
        done = spectac(*command)
        assert done.returncode == 0, done.stderr
    return folder


def test_the_index_says_how_each_study_was_made(made: Path) -> None:
    for form, seed in (("dicom", SEED_DICOM), ("npy", SEED_ARRAY)):
        case = Cohort(made / form).cases[0]
        patient, protocol = planned("random", seed)
        assert case["protocol"] == json.loads(json.dumps(protocol.to_json()))
        assert case["findings"]["names"] == list(patient.findings.names)
        assert case["bmi"] == round(patient.bmi, 2)
    index = json.loads((made / "npy" / "index.json").read_text())
    assert index["format"] == 2
    assert index["request"]["protocol"] == "random"
    assert index["kinds"] == ["NC", "AC", "TRUTH", "IDEAL"]


def test_an_array_lies_on_the_working_grid_and_holds_the_ideal_image(made: Path) -> None:
    cohort = Cohort(made / "npy")
    assert (cohort.spacing_mm, cohort.shape) == ((6.8, 6.8, 6.8), (64, 64))
    mask = heart_mask((29, 64, 64), cohort.spacing_mm, 45)
    for phase in ("stress", "rest"):
        for plane in ("SA", "VLA", "HLA"):
            nc, ac = cohort.pair(0, phase, plane)
            ideal, truth = cohort.ideal(0, phase, plane), cohort.truth(0, phase, plane)
            assert nc.shape == ac.shape == ideal.shape == truth.shape == (29, 64, 64)
            # Near AC, and nearer to it than NC is; without its noise, therefore smoother.
            assert np.abs(ac - ideal)[mask].mean() < 0.3 * np.abs(nc - ideal)[mask].mean()
            assert np.abs(np.diff(ideal, axis=0)).mean() < np.abs(np.diff(ac, axis=0)).mean()
        assert cohort.scale(0, phase) > 100


def test_training_reads_the_array_where_it_lies(made: Path, rng: np.random.Generator, monkeypatch) -> None:
    cohort = Cohort(made / "npy")
    once, again = cohort.mapped(0, "rest", "VLA"), cohort.mapped(0, "rest", "VLA")
    assert all(np.shares_memory(once[kind], again[kind]) for kind in ("NC", "AC", "TRUTH", "IDEAL"))
    mapped = SlicePairs(cohort, [0], 2.5)
    monkeypatch.setattr(Cohort, "mapped", lambda *_: None)
    held = SlicePairs(cohort, [0], 2.5)
    assert len(mapped) == len(held) == 6 * 29
    indices = rng.integers(len(held), size=40)
    for one, other in zip(mapped.select(indices), held.select(indices), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(mapped.neighbours(indices, 2), held.neighbours(indices, 2))
    assert mapped.fit_line() == held.fit_line()


def test_files_lie_on_the_pixels_of_the_camera(made: Path) -> None:
    cohort, (_, protocol) = Cohort(made / "dicom"), planned("random", SEED_DICOM)
    pixel = protocol.camera.pixel_mm
    side = 2 * int(np.ceil(protocol.field.half_mm / pixel))
    assert cohort.spacing_of(0) == pytest.approx((pixel,) * 3)
    nc, ac = cohort.pair(0, "rest", "SA")
    assert nc.shape == ac.shape == cohort.truth(0, "rest", "SA").shape == cohort.ideal(0, "rest", "SA").shape
    assert nc.shape == (side, side, side)
    series = read_series(made / "dicom" / f"case-{SEED_DICOM}" / "stress_HLA_NC.dcm")
    assert series.pixel_mm == pytest.approx((pixel, pixel), rel=1e-5)
    assert series.slice_mm == pytest.approx(pixel, rel=1e-5)
    # The stack is centred where the operator put it, whatever its size.
    patient, _ = planned("random", SEED_DICOM)
    centre = operator_axes(axes(patient), patient.centring, patient.tilt).centre
    right, down = np.array(series.orientation[:3]), np.array(series.orientation[3:])
    middle = np.array(series.position) + (side - 1) / 2 * pixel * (right + down + np.cross(right, down))
    assert middle == pytest.approx(centre, abs=0.01)


def test_headers_say_how_the_camera_went_and_what_was_corrected(made: Path) -> None:
    _, protocol = planned("random", SEED_DICOM)
    found = {k: pydicom.dcmread(made / "dicom" / f"case-{SEED_DICOM}" / f"rest_SA_{k}.dcm") for k in ("NC", "AC")}
    for kind, ds in found.items():
        how = protocol.nc if kind == "NC" else protocol.ac
        rotation = ds.RotationInformationSequence[0]
        assert rotation.NumberOfFramesInRotation == protocol.camera.views
        assert float(rotation.AngularStep) == pytest.approx(180 / protocol.camera.views, rel=1e-4)
        # From the right front (225) clockwise to the left back (45): half a step in, as views are.
        assert float(rotation.StartAngle) == pytest.approx(225 - 90 / protocol.camera.views, rel=1e-4)
        assert (rotation.RotationDirection, float(rotation.ScanArc)) == ("CW", 180.0)
        assert len(rotation.RadialPosition) == protocol.camera.views
        assert all(120 < float(mm) < 400 for mm in rotation.RadialPosition)
        assert ds.DetectorInformationSequence[0].CollimatorGridName == "LEHR"
        assert ("SCAT" in ds.CorrectedImage) == (how.scatter != "none")
        assert ("ATTN" in ds.CorrectedImage) == (kind == "AC")
        assert ds.FilterType == how.filter.kind.capitalize()
    assert found["NC"].ReconstructionMethod == "FBP"
    assert found["NC"].SeriesDescription == "REST FBPNC SA"
    assert found["AC"].ReconstructionMethod == f"OSEM {protocol.ac.iterations}i{protocol.ac.subsets}s"
    assert found["AC"].SeriesDescription == "REST IRACSC SA"
    assert found["AC"].ScatterCorrectionMethod == "dual energy window"
    for kind in found:
        path = made / "dicom" / f"case-{SEED_DICOM}" / f"rest_SA_{kind}.dcm"
        assert read_series(path, force=True).attenuation_corrected == (kind == "AC")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
def test_files_are_valid_objects(made: Path) -> None:
    for path in sorted((made / "dicom" / f"case-{SEED_DICOM}").glob("*.dcm")):
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == []


def test_cases_of_different_pixels_are_read_one_by_one(made: Path, tmp_path: Path) -> None:
    index = json.loads((made / "dicom" / "cohort.json").read_text())
    other = {**index["cases"][0], "seed": 1, "pixel_mm": 5.0, "slice_mm": 5.0}
    (tmp_path / "cohort.json").write_text(json.dumps({**index, "cases": [*index["cases"], other]}))
    cohort = Cohort(tmp_path)
    assert cohort.spacing_of(1) == (5.0, 5.0, 5.0)
    with pytest.raises(InputError, match="expected one spacing in all cases, found 2"):
        _ = cohort.spacing_mm


def test_a_cohort_without_the_ideal_image_says_so(made: Path, tmp_path: Path) -> None:
    index = json.loads((made / "npy" / "index.json").read_text())
    counts = np.load(made / "npy" / "cohort.npy")
    np.save(tmp_path / "cohort.npy", counts[:, :, :, :3])
    (tmp_path / "index.json").write_text(json.dumps({**index, "format": 1}))
    first = Cohort(tmp_path)
    with pytest.raises(InputError, match="--ideal"):
        first.ideal(0, "rest", "SA")
    # What both have can be trained on together, apart from patients that are the same.
    with pytest.raises(InputError, match="found 1 seeds twice"):
        JoinedCohort([first, Cohort(made / "npy")])
    (tmp_path / "index.json").write_text(json.dumps({**index, "format": 2}))
    with pytest.raises(InputError, match="expected uint16"):
        Cohort(tmp_path)


def test_another_protocol_is_another_cohort(made: Path) -> None:
    for arguments in (("--protocol", "fbp"), ("--protocol", "random", "--without", "czt"), ("--ideal",)):
        done = spectac("--cases", "1", "--seed", SEED_ARRAY, "--format", "npy", "-o", made / "npy", *arguments)
        assert done.returncode == 2
        assert "expected an empty folder or the cohort" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--protocol", "harbin"), "invalid choice: 'harbin'"),
        (("--without", "czt"), "--without is for --protocol random, found --protocol hanoi"),
        (("--protocol", "random", "--without", "hanoi"), "invalid choice: 'hanoi'"),
    ],
)
def test_names_that_are_none_are_usage_errors(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = spectac("--cases", "1", "--seed", "1", "-o", tmp_path / "c", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "c").exists()


SIGMA = 26.0


def hill(position: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return 900 * np.exp(-((position - centre) ** 2).sum(-1) / (2 * SIGMA**2))


def known_case(pixel: float, matrix: int, field: Field) -> tuple[Case, np.ndarray]:
    """A case whose volumes are a smooth hill beside the heart, and where its top is."""
    patient = draw(7)
    operator = operator_axes(axes(patient), patient.centring, patient.tilt)
    top = operator.centre + np.array([9.0, -14.0, 11.0])
    grid = Grid(matrix, min(matrix, int(326 / pixel)), pixel, centre=(20.0, -10.0))
    z, y, x = np.meshgrid(grid.axis_z(), grid.axis_y(), grid.axis_x(), indexing="ij")
    volume = torch.from_numpy(hill(np.stack([x, y, z], -1), top).astype(np.float32)).expand(2, -1, -1, -1)
    protocol = Protocol(camera=Camera(matrix=matrix, pixel_mm=pixel), field=field)
    return Case(patient, protocol, {"NC": volume}, grid, cuts(operator), (245.0,), {}, 0.4, volume, grid), top


@pytest.mark.parametrize(("pixel", "matrix"), [(6.8, 64), (6.75, 64), (5.0, 64), (7.4, 64), (3.4, 128), (4.1, 128)])
def test_stacks_show_what_lies_where_they_say(pixel: float, matrix: int) -> None:
    case, top = known_case(pixel, matrix, Field())
    working, native = working_stacks(case, ["NC"]), native_stacks(case, ["NC"])
    assert working.shape == (2, 3, 1, 29, 64, 64)
    assert native.shape == (2, 3, 1, int(np.ceil(29 * 6.8 / pixel - 1e-6)), matrix, matrix)
    for j, cut in enumerate(case.cuts.values()):
        for stack, mm in ((working[1, j, 0], (6.8, 6.8, 6.8)), (native[1, j, 0], (pixel,) * 3)):
            steps = [(np.arange(n) - (n - 1) / 2) * d for n, d in zip(stack.shape, mm, strict=True)]
            s, d, r = np.meshgrid(*steps, indexing="ij")
            position = cut.centre + sum(c[..., None] * v for c, v in ((s, cut.frames), (d, cut.down), (r, cut.right)))
            wanted = hill(position, top)
            near = wanted > 200
            # Linear interpolation and averaging over pixels flatten a hill by a few per cent of its top.
            assert np.abs(stack - wanted)[near].max() < 0.035 * 900


def test_the_working_grid_is_that_of_a_reader(rng: np.random.Generator) -> None:
    """In-plane as `correct` resamples what it reads, where both grids hold the same pixels."""
    case, _ = known_case(5.1, 64, Field())
    case.volumes["NC"] = torch.from_numpy(rng.uniform(0, 900, case.volumes["NC"].shape).astype(np.float32))
    way = InPlane((64, 64), (5.1, 5.1), 6.8)
    seen = way.to_model(sampled(case, ["NC"], (29, 64, 64), 6.8)[0, 0, 0])
    margin = (64 - seen.shape[-1]) // 2
    assert seen.shape[-1] % 2 == 0
    inner = slice(margin, 64 - margin)
    assert np.allclose(working_stacks(case, ["NC"])[0, 0, 0][:, inner, inner], seen, rtol=1e-5, atol=1e-2)


def test_what_is_kept_of_the_field() -> None:
    half = 80.0
    whole, _ = known_case(6.0, 64, Field())
    stacks = {"kept": native_stacks(whole, ["NC"])[0, 0, 0]}
    for name, field in (
        ("box", Field("zeroed", half)),
        ("ball", Field("zeroed", half, round=True)),
        ("cropped", Field("cropped", half)),
    ):
        stacks[name] = native_stacks(replace(whole, protocol=replace(HANOI, camera=whole.protocol.camera, field=field)),
                                     ["NC"])[0, 0, 0]  # fmt: skip
    full = stacks["kept"]
    steps = [(np.arange(n) - (n - 1) / 2) * 6.0 for n in full.shape]
    s, d, r = np.meshgrid(*steps, indexing="ij")
    box = np.maximum(np.maximum(np.abs(s), np.abs(d)), np.abs(r)) <= half
    ball = s * s + d * d + r * r <= half**2
    assert np.array_equal(stacks["box"], full * box)
    assert np.array_equal(stacks["ball"], full * ball)
    assert stacks["cropped"].shape == (28, 28, 28)
    rows = slice(32 - 14, 32 + 14)
    inside = box[2:-3, rows, rows]
    # 33 slices and 28 of them share no centre: the cropped stack lies about the same point, half a slice off.
    assert np.abs(stacks["cropped"][14] - 0.5 * (full[16] + full[17])[rows, rows])[inside[14]].max() < 20
