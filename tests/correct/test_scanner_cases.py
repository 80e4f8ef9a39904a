"""NM files as scanners and archives write them, by the list beside the repository: right counts, or one sentence."""

from __future__ import annotations

import importlib.util
import json
import shutil
from functools import cache

import numpy as np
import pydicom
import pytest
from dcmtk import complaints
from places import SHARED

from spectac_fast.cli import main
from spectac_fast.data import demo
from spectac_fast.data.scale import heart_mask
from spectac_fast.formats.dicom import read_series

LIST = SHARED / "cases" / "make_nm_cases.py"
GEOMETRY = ("ImageOrientationPatient", "ImagePositionPatient")


@cache
def cases():
    if not LIST.is_file():
        return {}
    spec = importlib.util.spec_from_file_location("make_nm_cases", LIST)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CASES


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    demo.unpack(folder)
    return {path.stem: pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))}


@pytest.fixture(scope="module")
def right(study, tmp_path_factory):
    """{plane: corrected counts} of the unchanged study at stress."""
    folder = tmp_path_factory.mktemp("right")
    for plane in ("SA", "VLA", "HLA"):
        study[f"stress_{plane}_NC"].save_as(folder / f"stress_{plane}_NC.dcm")
    assert main(["correct", "-i", str(folder), "-o", str(folder / "out"), "-d", "cpu"]) == 0
    return {
        plane: read_series(folder / "out" / f"stress_{plane}_NC_DL-AC.dcm").counts for plane in ("SA", "VLA", "HLA")
    }


@pytest.mark.skipif(not LIST.is_file(), reason="needs the list of cases in ../shared/cases")
@pytest.mark.parametrize("name", sorted(cases()))
def test_a_file_as_a_scanner_writes_it(name, study, right, tmp_path):
    what, make = cases()[name]
    folder, out = tmp_path / name, tmp_path / "out"
    folder.mkdir()
    for key, ds in make(study).items():
        ds.save_as(folder / f"{key}.dcm")
    report = tmp_path / "report.json"
    status = main(["correct", "-i", str(folder), "-o", str(out), "--report", str(report), "-d", "cpu"])
    entries = json.loads(report.read_text())["studies"]
    written = sorted(out.rglob("*.dcm"))
    if what["expect"] == "refuse":
        sentences = [text for entry in entries for text in (*entry["skipped"], *entry["failed"])]
        assert len(sentences) == len(list(folder.iterdir()))
        assert (status, written) in ((1, []), (3, []), (0, []))
        return
    assert (status, len(written)) == (0, len(list(folder.iterdir()))), entries
    if shutil.which("dciodvfy"):
        assert set().union(*map(complaints, written)) == set()
    if what["expect"] == "warn":
        warned = [text.lower() for entry in entries for text in entry["warnings"]]
        assert sum(what["word"] in text for text in warned) >= 1
        return
    for path in written:
        source = folder / f"{path.stem.removesuffix('_DL-AC')}.dcm"
        back = slice(None, None, -1 if what.get("back") == "mirrored" else 1)
        stored = [as_stored(each)[:, :, back] for each in (read_series(path), read_series(source))]
        assert difference(*stored, right[read_series(path).plane], what.get("region")) <= what["tolerance"]
        assert geometry(pydicom.dcmread(path)) == geometry(pydicom.dcmread(source))


def as_stored(series):
    """Counts in the order of the file, NaN where it says that there is no signal."""
    counts = series.counts if series.padding is None else np.where(np.isnan(series.padding), series.counts, np.nan)
    return series.turn.undo(counts)


def difference(found, source, expected, region):
    """RMS difference over RMS of what is expected above 20 % of its maximum, at the best factor between them.

    Where the source says that there is no signal nothing is compared.
    """
    inside = (expected > 0.2 * expected.max()) & ~np.isnan(source)
    if region == "heart":
        inside &= heart_mask(expected.shape, (6.8, 6.8, 6.8))
    a, b = found[inside].astype(float), expected[inside].astype(float)
    return float(np.sqrt(np.mean((a * (a @ b) / (a @ a) - b) ** 2) / np.mean(b**2)))


def geometry(ds):
    """Every element that says where a voxel lies, as it is written."""
    homes = [ds, *ds.get("DetectorInformationSequence", [])]
    found = [str(home.get(keyword)) for home in homes for keyword in GEOMETRY]
    return [*found, *(str(ds.get(key)) for key in ("PixelSpacing", "SpacingBetweenSlices", "SliceVector"))]
