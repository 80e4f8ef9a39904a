"""The list of files as scanners and archives really write them: of each of these kinds the stated result."""

import importlib.util
import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from places import CASES

import spectac_fast as sf
from spectac_fast.correct import Corrector, Report, carry_out
from spectac_fast.data import demo
from spectac_fast.formats.dicom import read_series

# Kinds that ask which way a stack lies and what belongs together.
KINDS = ("mirrored_columns", "no_slice_spacing", "prone", "slope_per_plane", "two_patients_one_study")
GEOMETRY = ("DetectorInformationSequence", "SpacingBetweenSlices", "SliceThickness", "PixelSpacing", "SliceVector")
pytestmark = pytest.mark.skipif(not CASES.is_file(), reason="needs the list of cases in ../shared/cases")


@pytest.fixture(scope="module")
def cases():
    spec = importlib.util.spec_from_file_location("make_nm_cases", CASES)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CASES


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    demo.unpack(folder)
    return {path.stem: pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))}


def corrected(folder, study):
    """Write data sets, correct them, and return the report and {name: counts as stored in the file}."""
    (folder / "in").mkdir(parents=True)
    for name, ds in study.items():
        ds.save_as(folder / "in" / f"{name}.dcm")
    corrector, report = Corrector(sf.load("bbdm", device="cpu")), Report()
    carry_out(corrector, corrector.plan([folder / "in"], folder / "out"), report)
    return report, {path.stem.replace("_DL-AC", ""): pydicom.dcmread(path).pixel_array for path in report.written}


@pytest.fixture(scope="module")
def plain(tmp_path_factory, study):
    nc = {name: ds for name, ds in study.items() if name.startswith("stress") and name.endswith("NC")}
    report, counts = corrected(tmp_path_factory.mktemp("plain"), nc)
    assert [entry["warnings"] for entry in report.entries] == [[]]
    return counts


def unlike(counts, expected):
    """Root mean square of the difference over voxels above 20 % of the maximum, up to a factor, relative."""
    bright = expected > 0.2 * expected.max()
    a, b = expected[bright].astype(float), counts[bright].astype(float)
    return float(np.sqrt(np.mean((a - (a @ b) / (b @ b) * b) ** 2) / np.mean(a**2)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_case_gives_the_stated_result(tmp_path, cases, study, plain, kind):
    stated, make = cases[kind]
    report, counts = corrected(tmp_path, make(study))
    assert report.failed == []
    warnings = [text for entry in report.entries for text in entry["warnings"]]
    assert len(counts) == (6 if kind == "two_patients_one_study" else 3)
    for name, found in counts.items():
        expected = plain[name.replace("other_", "")]
        if stated.get("back") == "mirrored":
            expected = expected[..., ::-1]
        assert unlike(found, expected) <= stated.get("tolerance", 1e-6), name
    if "word" in stated:
        for name in counts:
            assert any(stated["word"] in text.lower() and f"{name}.dcm" in text for text in warnings)
    if kind == "no_slice_spacing":
        assert all("SpacingBetweenSlices is missing" in text for text in warnings)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_valid_and_lies_as_the_source(tmp_path, cases, study, kind):
    _, make = cases[kind]
    report, _ = corrected(tmp_path, make(study))
    for path in report.written:
        before = pydicom.dcmread(tmp_path / "in" / path.name.replace("_DL-AC", ""))
        after = pydicom.dcmread(path)
        for keyword in GEOMETRY:
            assert after.get(keyword) == before.get(keyword)
        assert read_series(path).turn == read_series(before.filename).turn
        if shutil.which("dciodvfy"):
            result = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
            complaints = [line for line in (result.stdout + result.stderr).splitlines() if line.startswith("Error")]
            assert complaints == (MISSING if kind == "no_slice_spacing" else [])
