import re
import sys
import types
import zipfile

import numpy as np
import pytest
from fake_cohort import FakeTranslator
from fake_patient import write_patient
from fake_study import heart, write_nc
from PIL import Image

from spectac_fast.cli import main
from spectac_fast.data import demo
from spectac_fast.data.scale import count_scale, heart_mask
from spectac_fast.errors import InputError
from spectac_fast.evaluate.study_scores import match
from spectac_fast.evaluate.table.metrics import slice_scores
from spectac_fast.formats.dicom import read_series

GAIN = 1.8


@pytest.fixture
def case(tmp_path):
    """A case folder as `spectac phantom` writes it, with small stacks."""
    rng = np.random.default_rng()
    folder = tmp_path / "case-500000"
    folder.mkdir()
    for name in demo.NAMES:
        phase, plane, kind = name.removesuffix(".dcm").split("_")
        if kind == "NC":
            nc = heart(rng, shape=(13, 64, 64))
        counts = nc if kind == "NC" else np.round(nc * GAIN * np.linspace(0.9, 1.3, 64)[:, None]).astype(np.float32)
        write_nc(folder / name, counts, plane=plane, phase=phase, corrected=kind == "AC")
    return folder


@pytest.fixture
def bundled(case, tmp_path, monkeypatch):
    """The package's own study is replaced by `case`, and its models by one whose answer is known."""
    package = tmp_path / "package" / "fake_bundle"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    demo.pack(case, package / demo.ARCHIVE)
    projections = write_patient(tmp_path / demo.PROJECTIONS, np.random.default_rng())
    with zipfile.ZipFile(package / demo.PATIENT, "w") as archive:
        archive.write(projections, demo.PROJECTIONS)
        archive.writestr(demo.NOTICE, "nobody's")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(demo, "__name__", "fake_bundle")
    loaded = []

    def load(name, device="auto"):
        loaded.append((name, device))
        return FakeTranslator(name, slope=1.1, intercept=0.1, gain=GAIN)

    from spectac_fast.models import registry

    monkeypatch.setattr(registry, "load", load)
    yield loaded
    sys.modules.pop("fake_bundle", None)


def test_packing_is_deterministic_and_complete(case, tmp_path):
    sizes = [demo.pack(case, tmp_path / f"{k}.zip") for k in range(2)]
    assert sizes[0] == (tmp_path / "0.zip").stat().st_size
    assert (tmp_path / "0.zip").read_bytes() == (tmp_path / "1.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "0.zip") as archive:
        assert archive.namelist() == list(demo.NAMES)
        assert all(archive.read(name) == (case / name).read_bytes() for name in demo.NAMES)
    (case / demo.NAMES[3]).unlink()
    with pytest.raises(InputError, match=demo.NAMES[3]):
        demo.pack(case, tmp_path / "2.zip")


def test_demo_corrects_scores_and_draws(bundled, case, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["demo", "-o", str(out), "-m", "bbdm", "-d", "cpu"]) == 0
    assert bundled == [("bbdm", "cpu")]
    for name in demo.NAMES:
        assert (out / "input" / name).read_bytes() == (case / name).read_bytes()
    corrected = sorted((out / "corrected").rglob("*.dcm"))
    assert len(corrected) == 6
    for phase in ("stress", "rest"):
        with Image.open(out / f"{phase}.png") as image:
            assert image.format == "PNG"
            assert image.width > 1300
    assert "Polar map, stress, AC (CT)" in (out / "report.html").read_text()
    assert len(list((out / "patient" / "corrected").glob("*_DL-AC.dcm"))) == 3
    assert "Polar map, stress, By a map" in (out / "patient" / "report.html").read_text()
    for name in ("patient.png", "map.png"):
        with Image.open(out / "patient" / name) as image:
            assert image.width > 1200
    with Image.open(out / "patient" / "patient.png") as image:
        assert image.width > 1300
    printed = capsys.readouterr().out
    for part in (
        "6 NC series, 78 slices",
        "data range 2",
        "sigma 1.5",
        "60 mm",
        "gain 1.80",
        "ms per slice on cpu",
        "24 views",
    ):
        assert part in printed
    # Wherever it is told to write.
    assert max(len(line.replace(str(tmp_path), "")) for line in printed.splitlines()) <= 110

    lines = [line for line in printed.splitlines() if re.match(r"(NC|corrected) +0\.", line)]
    rows = {line.split()[0]: re.findall(r"[\d.]+", line) for line in lines}
    series = {kind: {} for kind in ("NC", "AC", "corrected")}
    for path in (out / "input").iterdir():
        one = read_series(path)
        series["AC" if one.attenuation_corrected else "NC"][one.phase, one.plane] = one.counts
    for path in corrected:
        one = read_series(path)
        series["corrected"][one.phase, one.plane] = one.counts
    for label, factor in (("NC", GAIN), ("corrected", 1.0)):
        whole, inside, ssim = [], [], []
        for (phase, plane), counts in series[label].items():
            scale = GAIN * count_scale(series["NC"][phase, "SA"], (6.8, 6.8, 6.8))
            a = factor * counts.astype(np.float64) * 2 / scale - 1
            b = series["AC"][phase, plane].astype(np.float64) * 2 / scale - 1
            whole.append(a - b)
            inside.append((a - b)[heart_mask(a.shape, (6.8, 6.8, 6.8))])
            ssim.append(slice_scores(a, b).ssim)
        rmse, heart_rmse = (np.sqrt(np.mean(np.concatenate([v.ravel() for v in p]) ** 2)) for p in (whole, inside))
        shown = [float(text) for text in rows[label]]
        assert shown[0] == pytest.approx(np.mean(ssim), abs=6e-5)
        assert shown[1] == pytest.approx(20 * np.log10(2 / rmse), abs=6e-3)
        assert shown[2] == pytest.approx(rmse, abs=6e-5)
        assert shown[5] == pytest.approx(heart_rmse, abs=6e-5)


def test_demo_can_be_run_twice_into_one_folder(bundled, tmp_path):
    first, second = ([], [])
    for bytes_of in (first, second):
        assert main(["demo", "-o", str(tmp_path / "out")]) == 0
        bytes_of += [path.read_bytes() for path in sorted((tmp_path / "out").rglob("*")) if path.is_file()]
    assert first == second


def test_demo_into_a_file_is_one_sentence(bundled, tmp_path, capsys):
    (tmp_path / "taken").write_text("x")
    assert main(["demo", "-o", str(tmp_path / "taken")]) == 4
    assert re.fullmatch(r"spectac: .*taken: .*\n", capsys.readouterr().err)


def test_a_missing_archive_is_one_sentence(bundled, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "ARCHIVE", "gone.zip")
    assert main(["demo", "-o", str(tmp_path / "out")]) == 4
    assert re.fullmatch(r"spectac: .*gone\.zip.*\n", capsys.readouterr().err)


def test_series_are_matched_by_phase_and_plane():
    rng = np.random.default_rng()

    def one(phase, plane, side=16):
        counts = rng.uniform(size=(3, side, side)).astype(np.float32)
        path, spacing_mm = f"{phase}_{plane}", (6.8, 6.8, 6.8)
        return types.SimpleNamespace(phase=phase, plane=plane, counts=counts, spacing_mm=spacing_mm, path=path)

    nc = [one("stress", "SA"), one("stress", "HLA"), one("rest", "SA")]
    ac = [one(s.phase, s.plane) for s in reversed(nc)]
    found = match(nc, ac, ac)
    assert list(found) == ["stress", "rest"]
    assert found["stress"]["HLA"].ac is ac[1].counts
    assert found["rest"]["SA"].nc is nc[2].counts
    with pytest.raises(InputError, match=r"rest_SA: expected a partner among the AC series"):
        match(nc, ac, ac[1:])
    with pytest.raises(InputError, match="size and spacing"):
        match(nc, ac, [*ac[:2], one("stress", "SA", side=17)])
