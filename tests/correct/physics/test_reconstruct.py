"""Projections in, slices out: by Python and by the command."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch
from fake_patient import ANGLES, AXES, WATER, body, ct_of, ventricle, views_of, write_ct, write_patient
from fake_study import heart, write_nc
from fake_tomo import edited, write_tomo

import spectac_fast as sf
from spectac_fast.cli import main
from spectac_fast.correct.physics.wanted import Wanted, collimator_of, filter_of
from spectac_fast.errors import InputError, UsageError
from spectac_fast.formats.dicom import read_series
from spectac_fast.reconstruct.settings import Filter

PLANES = ("SA", "VLA", "HLA", "TRA")
TRUE = 400 * (ventricle() + 0.1 * body())
AXIS = (45.0, 25.0, *map(float, AXES.centre))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_patient(tmp_path_factory.mktemp("tomo") / "tomo.dcm", np.random.default_rng(3))


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    return write_ct(tmp_path_factory.mktemp("map") / "ct", ct_of(WATER * body()))


def run(capsys, *words):
    status = main(["reconstruct", *map(str, words), "--progress", "off"])
    return status, *capsys.readouterr()


def wall(volume):
    return float(volume[ventricle() > 0.5].mean())


def test_a_map_brings_the_counts_back(file, ct):
    made = sf.reconstruct(file, ac=ct, scatter="none", filter=Filter("none"), collimator=None)
    assert wall(made.volumes["NC"]) < 0.5 * wall(TRUE)
    assert wall(made.volumes["AC"]) == pytest.approx(wall(TRUE), rel=0.1)
    assert any("x = y = 0" in note for note in made.notes)


def test_one_path_is_one_path(file):
    by = sf.Reconstructor(planes=("SA",), axis=AXIS)
    for inputs in (str(file), file, [file]):
        (result,) = by.map(inputs)
        assert result.made is not None
    with pytest.raises(ValueError, match="at least one path"):
        by.map([])
    with pytest.raises(TypeError):
        by.map(5)


def test_chang_comes_near(file):
    made = sf.reconstruct(file, ac="chang", filter=Filter("none"))
    assert 0.7 * wall(TRUE) < wall(made.volumes["AC"]) < 1.2 * wall(TRUE)
    assert made.volumes["AC"].isfinite().all()
    assert sf.reconstruct(file, ac="chang", method="FBP").volumes["AC"].min() >= 0


def test_the_axis_is_found_or_told(file):
    found = sf.reconstruct(file, planes=("SA",))
    assert np.degrees(np.arccos(found.axes.long @ AXES.long)) < 8
    assert found.axis.doubts == ()
    told = sf.reconstruct(file, planes=("SA",), axis=AXIS)
    np.testing.assert_allclose(told.axes.long, AXES.long)
    assert told.axis is None
    assert "as told: azimuth 45.0, elevation 25.0" in " ".join(told.notes)


def test_a_scatter_window_is_used(tmp_path, rng, ct):
    """A lower window of the same width as the photopeak and with half of its counts: by k = 0.5, a quarter of these."""
    views = views_of(TRUE, WATER * body()).numpy().transpose(0, 2, 1)[:, ::-1]
    counts = np.stack([rng.poisson(10 * views), rng.poisson(5 * views)])
    given = {"windows_kev": ((126.45, 154.55), (98.35, 126.45)), "angles": ANGLES, "radius_mm": (200.0,)}
    path = write_tomo(tmp_path / "tomo.dcm", counts, **given)
    without, by_window = (sf.reconstruct(path, axis=AXIS, scatter=how).volumes["NC"] for how in ("none", "window"))
    assert float(by_window.sum() / without.sum()) == pytest.approx(0.75, abs=0.03)
    made = sf.reconstruct(path, axis=AXIS, ac=ct, planes=("SA",))
    assert [stack.scatter for stack in made.stacks] == ["", "dual energy window"]


def test_what_does_not_go_together(file, ct):
    for wanted, said in (
        ({"method": "FBP", "ac": str(ct)}, "takes no map"),
        ({"planes": ("SA", "XY")}, "planes"),
        ({"scatter": "estimate"}, "attenuation map"),
        ({"axis": (1.0, 2.0)}, "azimuth"),
        ({"scatter": "some"}, "scatter"),
        ({"method": "MLEM"}, "OSEM or FBP"),
    ):
        with pytest.raises(UsageError, match=said):
            Wanted(**wanted)
    with pytest.raises(InputError, match=r"divide its 24 views \(1, 2, 3, 4, 6\), found 7"):
        sf.reconstruct(file, subsets=7)
    with pytest.raises(InputError, match="scatter window below"):
        sf.reconstruct(file, scatter="window")


def test_thallium_is_not_corrected(tmp_path, rng, ct):
    def change(ds):
        code = ds.RadiopharmaceuticalInformationSequence[0].RadionuclideCodeSequence[0]
        code.CodeValue, code.CodeMeaning = "60057003", "^201^Thallium"
        ds.RadiopharmaceuticalInformationSequence[0].Radiopharmaceutical = ""
        ds.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalCodeSequence = []
        ds.EnergyWindowInformationSequence[0].EnergyWindowName = ""
        limits = ds.EnergyWindowInformationSequence[0].EnergyWindowRangeSequence[0]
        limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = "69", "83"

    path = edited(write_patient(tmp_path / "tomo.dcm", rng), change)
    with pytest.raises(InputError, match="Tl-201"):
        sf.reconstruct(path, ac="chang", axis=AXIS)
    assert sf.reconstruct(path, axis=AXIS, planes=("SA",)).stacks


def test_words_of_the_command_line():
    assert filter_of("butterworth:0.5:4") == Filter(cutoff=0.5, power=8)
    assert (filter_of("hann:0.8"), filter_of("gaussian:9")) == (
        Filter("hann", cutoff=0.8),
        Filter("gaussian", fwhm_mm=9),
    )
    assert filter_of("none") == Filter("none")
    assert collimator_of("none") is None
    assert collimator_of("1.4,30,3").hole == 1.4
    for text in ("butter", "hann:x", "gaussian", "hann:-1"):
        with pytest.raises(ValueError):  # noqa: PT011
            filter_of(text)
    for text in ("fan", "1,2", "0,30,3"):
        with pytest.raises(ValueError):  # noqa: PT011
            collimator_of(text)


def test_files_are_what_they_say_and_can_be_corrected(file, tmp_path, capsys):
    out = tmp_path / "out"
    status, printed, _ = run(capsys, "-i", file, "-o", out, "--ac", "chang", "--report", tmp_path / "r.json")
    assert status == 0
    assert "24 views; long axis azimuth" in printed
    assert "reconstructed 8 series of 1 file" in printed
    written = {path.name: path for path in out.glob("*.dcm")}
    assert set(written) == {f"tomo_{kind}_{plane}.dcm" for kind in ("NC", "AC") for plane in PLANES}
    assert json.loads((tmp_path / "r.json").read_text())["studies"][0]["status"] == "reconstructed"
    made = sf.reconstruct(file, ac="chang")
    frames = set()
    for stack in made.stacks:
        read = read_series(written[f"tomo_{'AC' if stack.corrected else 'NC'}_{stack.plane}.dcm"], force=True)
        assert (read.plane, read.phase) == (stack.plane, "stress")
        assert read.attenuation_corrected == stack.corrected, read.evidence
        assert not read.doubt
        np.testing.assert_allclose(read.counts, stack.counts, atol=0.51 * stack.step)
        np.testing.assert_allclose(read.orientation, stack.orientation, atol=1e-4)
        np.testing.assert_allclose(read.position, stack.position, atol=1e-3)
        assert read.pixel_mm == (6.8, 6.8)
        frames.add(read.frame_of_reference)
    assert len(frames) == 1
    model = tmp_path / "same.json"
    model.write_text(json.dumps({"format": 1, "model": "same", "slope": 1, "offset": 0, "gain": 1, "pixel_mm": 6.8}))
    assert main(["correct", "-i", str(out), "-o", str(tmp_path / "ac"), "-m", str(model), "-d", "cpu"]) == 0
    assert len(list((tmp_path / "ac").glob("*_DL-AC.dcm"))) == 3
    capsys.readouterr()

    before = {path: path.read_bytes() for path in written.values()}
    (out / "tomo_NC_SA.dcm").unlink()
    status, printed, _ = run(capsys, "-i", file, "-o", out, "--ac", "chang")
    assert (status, {path: path.read_bytes() for path in before}) == (0, before)
    status, printed, _ = run(capsys, "-i", file, "-o", out, "--ac", "chang")
    assert "8 series finished before" in printed
    assert "nothing written" in printed


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
def test_objects_are_valid(file, ct, tmp_path, capsys):
    assert run(capsys, "-i", file, "-o", tmp_path, "--ac", ct, "--axis=" + ",".join(map(str, AXIS)))[0] == 0
    for path in [file, *tmp_path.glob("*.dcm")]:
        done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        assert "Error" not in done.stderr + done.stdout, path
        assert "Warning - Attribute is not present" not in done.stderr, path


def test_bad_files_are_listed_and_the_rest_is_done(tmp_path, file, rng, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(file, folder / "good.dcm")
    (folder / "cut.dcm").write_bytes(file.read_bytes()[:-4000])
    write_nc(folder / "slices.dcm", heart(rng))
    status, printed, said = run(capsys, "-i", folder, "-o", tmp_path / "out", "--planes", "SA")
    assert status == 1
    assert "1 files skipped, 1 failed" in printed
    assert "failed: " in said
    assert "truncated" in said
    assert [path.name for path in (tmp_path / "out").glob("*.dcm")] == ["good_NC_SA.dcm"]
    status, _, said = run(capsys, "-i", folder / "slices.dcm", "-o", tmp_path / "two")
    assert status == 1
    assert "spectac correct takes those" in said
    for path in (folder / "good.dcm", folder / "cut.dcm"):
        path.unlink()
    assert run(capsys, "-i", folder, "-o", tmp_path / "three")[0] == 3


def test_shards_share_the_files_among_them(tmp_path, file, capsys, monkeypatch):
    axis = f"--axis={','.join(map(str, AXIS))}"
    for name in ("a", "b", "c"):
        shutil.copy(file, tmp_path / f"{name}.dcm")
    made = []
    for words, environment in ((("--shard", "1/2"), {}), ((), {"RANK": "1", "WORLD_SIZE": "2"})):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert run(capsys, tmp_path, "-o", tmp_path / "out", "--planes", "SA", axis, *words)[0] == 0
        made.append({path.name for path in (tmp_path / "out").rglob("*.dcm")})
    assert made[1] == {"a_NC_SA.dcm", "b_NC_SA.dcm", "c_NC_SA.dcm"}
    assert len(made[0]) == 2
    # A part without a file is no mistake.
    assert run(capsys, tmp_path / "a.dcm", "-o", tmp_path / "none", "--planes", "SA", axis)[0] == 0


def test_torch_is_left_as_it_was(file):
    before = torch.get_num_threads(), torch.is_inference_mode_enabled()
    sf.reconstruct(file, axis=AXIS, planes=("SA",))
    assert (torch.get_num_threads(), torch.is_inference_mode_enabled()) == before
