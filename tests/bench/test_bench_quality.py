"""The quality benchmark: its measures on images with a known answer, its choice, and a run from cohort to page."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from fake_cohort import FakeCohort
from tiny_bbdm import CONFIG, random_tensors

from bench.__main__ import main
from bench.quality import quality
from bench.quality.measures import disagreement, radial_power, roughness, texture
from bench.quality.parts import content, stacks
from bench.quality.slices import central_slices
from bench.quality.summary import HALF, fewest, spread_to_error, summarise
from spectac_fast.checkpoints.weights import save_weights
from spectac_fast.cohort.cohort import STACK_SHAPE, Cohort
from spectac_fast.diffusion.solvers import solver_table
from spectac_fast.models.registry import load

SPACING = (6.8, 6.8, 6.8)


def test_white_noise_has_the_same_power_everywhere():
    power = radial_power(3.0 * np.random.default_rng().standard_normal((1000, 32, 32)))
    assert power.shape == (1000, 17)
    # Four independent coefficients on the smallest ring: 15 % are nine standard deviations.
    assert np.allclose(power.mean(axis=0)[1:], 9.0 * 32 * 32, rtol=0.15)


def test_a_wave_lies_on_its_ring():
    rows = np.arange(64)[:, None] + np.zeros(64)
    power = radial_power(np.cos(2 * np.pi * 5 / 64 * rows)[None])[0]
    assert power.argmax() == 5
    assert power[5] > 1e20 * np.delete(power, 5).max()


def test_texture_is_in_decibel():
    power = np.random.default_rng().uniform(1.0, 2.0, 33)
    distance, bias = texture(power / 10, power)
    assert (distance, bias) == pytest.approx((10.0, -10.0))
    alternating = power * np.where(np.arange(33) % 2, 10.0, 0.1)
    assert texture(alternating, power)[0] == pytest.approx(10.0)


def test_roughness_sees_steps_between_slices_only():
    generator = np.random.default_rng()
    image, heart = generator.standard_normal((8, 8)), np.ones((9, 8, 8), bool)
    ramp = image + np.arange(9)[:, None, None]
    assert roughness(ramp, heart) == pytest.approx(0.0, abs=1e-12)
    noise = generator.standard_normal((400, 8, 8))
    assert roughness(noise, np.ones_like(noise, bool)) == pytest.approx(6.0**0.5, rel=0.05)


def planes_of(function):
    """SA, VLA and HLA of a function of (long, up, lateral), places in voxels from the centre."""
    depth, matrix = STACK_SHAPE[0], STACK_SHAPE[1]
    s, a = np.arange(depth) - (depth - 1) / 2, np.arange(matrix) - (matrix - 1) / 2
    frame, row, column = np.meshgrid(s, a, a, indexing="ij")
    return {
        "SA": function(-frame, -row, column),
        "VLA": function(column, -row, frame),
        "HLA": function(-row, frame, column),
    }


def test_planes_of_one_volume_agree():
    straight = planes_of(lambda along, up, lateral: 1.0 * along - 2.0 * up + 3.0 * lateral)
    assert disagreement(straight, SPACING) == pytest.approx(0.0, abs=1e-12)
    for name in straight:
        broken = {**straight, name: straight[name] + 1.0}
        assert disagreement(broken, SPACING) == pytest.approx(1.0 if name == "SA" else 0.5**0.5)


def test_stacks_with_and_without_common_noise():
    bridge = load("bbdm", "cpu")
    cohort = FakeCohort(0, cases=1, slices=7, side=32)
    tables = {"one": solver_table(bridge.model.bridge, 1), "sample": solver_table(bridge.model.bridge, 2)}
    found = stacks(cohort, bridge, 0, tables)
    assert found["AC"]["rmse"] == 0
    assert found["noise of the series"]["roughness"] < found["noise of each slice"]["roughness"]
    for numbers in found.values():
        assert numbers["roughness"] > 0
        assert numbers["disagreement"] > 0


def row(solver, evaluations, **means):
    """Twelve patients, half of them two per cent above and half below these means."""
    shared = {"rmse": 0.05, "ssim": 0.9, "texture": 1.0, "spread": 0.04} | means
    patients = [{k: v * (1.02 if i % 2 else 0.98) for k, v in shared.items()} for i in range(12)]
    return {"solver": solver, "evaluations": evaluations, "samples": 2, "patients": patients}


def test_the_choice_is_the_shortest_of_equal_quality():
    rows = [
        row("A", 1, texture=1.1),
        row("A", 2, rmse=0.04, spread=0.0),
        row("A", 3, ssim=0.87),
        row("A", 4, rmse=0.06),
        row("A", 6, rmse=0.0501, ssim=0.92, texture=0.6),
        row("published", 200),
    ]
    summary = summarise(rows)
    assert [one["equal"] for one in summary] == [False, True, False, False, True, True]
    assert (fewest(summary, "equal")["evaluations"], fewest(summary, "sample")["evaluations"]) == (2, 6)
    assert fewest(summarise(rows[:-1]), "equal") is None


def test_other_weights_are_not_chosen_from_and_have_an_error_of_their_own():
    other = {"other": "bbdm", "solver": "student"}
    rows = [
        row("A", 1, rmse_heart=0.05, spread=0.0),
        row("A", 4, rmse_heart=0.05),
        row(HALF, 4, rmse=0.04),
        row("A", 1, rmse=0.04, rmse_heart=0.1) | other,
        row("A", 2, rmse=0.04, rmse_heart=0.1) | other,
        row("published", 200, rmse_heart=0.05),
    ]
    summary = summarise(rows)
    assert all(one["equal"] for one in summary)
    assert (fewest(summary, "equal")["solver"], fewest(summary, "sample")["evaluations"]) == ("A", 4)
    assert [spread_to_error(summary[i], summary) for i in (1, 4)] == pytest.approx([0.8, 0.4])


def test_solvers_that_coincide_are_one():
    bridge = load("bbdm", "cpu").model.bridge
    first, second, third = (content(solver_table(bridge, 3, order=order)) for order in (1, 2, 3))
    assert first == second == third
    assert content(solver_table(bridge, 4, order=1)) != content(solver_table(bridge, 4, order=2))


@pytest.fixture
def cohort_folder(tmp_path):
    """Three patients of smooth random counts, their AC twice the NC."""
    generator = np.random.default_rng(0)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in STACK_SHAPE), indexing="ij")
    shell = np.exp(-(((np.sqrt(x * x + y * y + z * z) - 0.4) / 0.15) ** 2))
    array = generator.poisson(200 * shell + 10, (3, 2, 3, 3, *STACK_SHAPE)).astype(np.uint16)
    array[:, :, :, 1:] = 2 * array[:, :, :, :1]
    np.save(tmp_path / "cohort.npy", array)
    cases = [{"seed": 500_000 + i} for i in range(3)]
    (tmp_path / "index.json").write_text(json.dumps({"format": 1, "cases": cases, "pixel_mm": 6.8, "slice_mm": 6.8}))
    return tmp_path


def test_a_run_is_resumed_and_written(cohort_folder, tmp_path, monkeypatch):
    arguments = ["--cases", "2", "--fit-cases", "1", "--stack-cases", "0", "--samples", "2", "--teacher-steps", "4"]
    few = ["--evaluations", "1", "2", "3"]
    small = tmp_path / "small.safetensors"
    save_weights(small, random_tensors(), "bbdm", CONFIG, {})
    few += ["--also", "linear", f"distilled={small}"]
    places = ["--data", str(cohort_folder), "--work", str(tmp_path / "parts"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["bench", "quality", *arguments, *places, *few, "--device", "cpu"])
    assert main() == 0
    page = (tmp_path / "out" / "table_cpu.md").read_text()
    rows = [line for line in page.splitlines() if "| 2 |" in line]
    assert any(
        line.startswith("| ancestral, DBIM-1, DBIM-2, DBIM-3, UniPC, UniPC-bh2, SDE-2M | 2 |") for line in rows
    ), rows
    assert (tmp_path / "out" / "plot_cpu.png").stat().st_size > 10_000
    with (tmp_path / "out" / "table_cpu.csv").open() as file:
        rows = list(csv.DictReader(file))
    own = {*quality.SOLVERS, quality.FITTED, HALF}
    assert {row["solver"] for row in rows} == own | {"linear", "distilled"}
    others = [line.split(" | ")[:4] for line in page.partition("## Other weights")[2].splitlines()]
    assert [line for line in others if line[0] in ("| linear", "| distilled")] == [
        ["| linear", "linear", "default", "1"],
        ["| distilled", "bbdm", "default", "1"],
        ["| distilled", "bbdm", "samples", "3"],
    ]
    for entry in rows:
        assert np.isfinite(float(entry["value"]))

    def never(*_):
        raise AssertionError("a finished part was computed again")

    monkeypatch.setattr("sys.argv", ["bench", "quality", *arguments, *places, *few, "--finished", "--device", "cpu"])
    monkeypatch.setattr(quality, "draw", never)
    monkeypatch.setattr(quality, "fitted_table", never)
    assert main() == 0
    assert (tmp_path / "out" / "table_cpu.md").read_text() == page


def test_two_trainings_along_the_bridge(cohort_folder, tmp_path, monkeypatch, capsys):
    small, other = tmp_path / "small.safetensors", tmp_path / "other.safetensors"
    save_weights(small, random_tensors(), "bbdm", CONFIG, {"recipe": {"name": "native64-table"}, "steps": 7})
    save_weights(other, random_tensors(), "bbdm", {**CONFIG, "gain": 2 * CONFIG["gain"]}, {})
    places = ["--data", str(cohort_folder), "-o", str(tmp_path / "out"), "-d", "cpu"]
    monkeypatch.setattr("sys.argv", ["bench", "curve", f"one={small}", f"two={other}", *places])
    assert main() == 0
    found = json.loads((tmp_path / "out" / "curve.json").read_text())
    assert found["facts"]["one"].startswith("native64-table, 7 steps, weights ")
    for row in found["rows"]:
        first, second = row["rmse"]
        assert row["ratio"]["value"] == pytest.approx(second / first)
        assert row["ratio"]["low"] <= row["ratio"]["value"] <= row["ratio"]["high"]
    cohort = Cohort(cohort_folder)
    for rmse, path in zip(found["rows"][-1]["rmse"], (small, other)):
        translator = load(path, "cpu")
        slices = central_slices(cohort, translator, range(3))
        error = translator.translate(slices.nc, steps=1) - slices.ac
        expected = float(error.double().square().mean().sqrt()) * translator.gain / CONFIG["gain"]
        assert rmse == pytest.approx(expected, rel=1e-5)
    assert found["rows"][-1]["t"] is None
    # At the end of the bridge hardly anything but the start is left of its states.
    assert found["rows"][-2]["rmse"] == pytest.approx(found["rows"][-1]["rmse"], rel=0.1)
    page = (tmp_path / "out" / "curve.md").read_text()
    assert page in capsys.readouterr().out
    assert (tmp_path / "out" / "curve.png").stat().st_size > 10_000
