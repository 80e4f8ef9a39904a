"""`spectac evaluate` on folders of one's own pairs: what the table shows, what it leaves out, what is refused."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_cohort import FakeTranslator
from fake_study import ORIENTATIONS
from own_pairs import SPACING, png, put, stacks, three_patients
from patience import HANGS_S
from PIL import Image

from spectac_fast import cli
from spectac_fast.cohort.paired import phases_of
from spectac_fast.cohort.pairs import PairFolder
from spectac_fast.correct.study import correct_study
from spectac_fast.data.scale import count_scale
from spectac_fast.data.study import Study
from spectac_fast.evaluate.table.phase import Phase
from spectac_fast.evaluate.table.score import corrected_stacks
from spectac_fast.evaluate.table.variants import Row
from spectac_fast.formats.series import Series
from spectac_fast.train.rows import train_row

# Pixels: names of rows at the left, 1.55 inches, and the 5.05 that the longest title needs.
WIDTH = 160 * 6.6


def spectac(*words):
    command = [sys.executable, "-m", "spectac_fast.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANGS_S)


@pytest.fixture
def folder(tmp_path, fresh):
    return tmp_path / "own", three_patients(tmp_path / "own", fresh)


@pytest.fixture
def linear(folder, tmp_path):
    """A row fitted to the folder's own pairs."""
    return train_row("linear", PairFolder(folder[0]), tmp_path / "run")


def test_the_table_of_ones_own_pairs(folder, linear, tmp_path):
    path, kept = folder
    out = tmp_path / "table"
    models = f"identity,{linear},bbdm"
    done = spectac("evaluate", "--data", path, "--models", models, "--samples", 1, "--steps", 1, "-o", out)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in out.iterdir()) == ["panel.png", "table.csv", "table.json", "table.md"]
    numbers = json.loads((out / "table.json").read_text())
    rows = {row["label"]: row for row in numbers["rows"]}
    assert list(rows) == ["identity", "linear", "bbdm, 1 evaluation", "bbdm, one 1-step sample"]

    head = numbers["head"]
    assert (head["patients"], head["slices"], head["case_seeds"], head["normal_patients"]) == (3, 25, None, None)
    assert head["stacks"]["stress SA"] == head["stacks"]["of unknown phase and plane"] == 1
    assert "planes combined, because" in head["convention"]["left_out"]
    assert head["seen_in_training"] == {"linear": 3}
    assert numbers["reference_segments"] is None
    assert [row["segments"] for row in rows.values()] == [None] * 4

    # RMSE pooled over all stacks of a patient, from the counts alone.
    line, gain = json.loads(linear.read_text()), head["gain"]
    series = [["p1_stress_SA", "p1_stress_VLA", "p1_REST_sa"], ["second_patient_rest_HLA"], ["third"]]
    scale_of = {"p1_stress_VLA": "p1_stress_SA"}
    for names, patient in zip(series, rows["linear"]["patients"], strict=True):
        errors = []
        for name in names:
            nc, ac = (stack.astype(np.float64) for stack in kept[name])
            scale = count_scale(kept[scale_of.get(name, name)][0], SPACING)
            model = line["slope"] * (2 * nc / scale - 1) + line["offset"]
            corrected = np.maximum((model + 1) / 2 * scale * line["gain"], 0)
            errors.append(((corrected - ac) * 2 / (scale * gain)).ravel())
        assert patient["whole"]["rmse"] == pytest.approx(np.sqrt(np.mean(np.concatenate(errors) ** 2)), rel=1e-5)
    for row in rows.values():
        assert row["whole"]["rmse"]["low"] < row["whole"]["rmse"]["value"] < row["whole"]["rmse"]["high"]
    assert 0 < rows["bbdm, 1 evaluation"]["heart"]["against_best_baseline"]["rmse"]["p"] <= 1

    lines = list(csv.DictReader((out / "table.csv").open()))
    assert {line["row"] for line in lines} == {*rows, "NC at its best scale"}
    assert "segments" not in {line["region"] for line in lines}
    text = (out / "table.md").read_text()
    assert "results on pairs of one's own" in text
    assert "- Left out: planes combined, because" in text
    assert "- Not unseen: trained on patients of this table, which flatters: linear (on 3 of 3)." in text
    assert "## 17 segments" not in text
    assert "Left out: planes combined, because" in done.stdout
    with Image.open(out / "panel.png") as image:
        assert image.format == "PNG"
        assert image.width > WIDTH
    # Who they are is in no file.
    for file in out.iterdir():
        assert b"second_patient" not in file.read_bytes()


def test_one_stack_by_the_papers_profile(tmp_path, fresh, capsys):
    """A patient without interval; a picture of one plane that still has room for its title."""
    put(tmp_path / "own", "a.npy", stacks(fresh))
    words = ["evaluate", "--data", str(tmp_path / "own"), "--models", "identity", "--metric-profile", "paper"]
    assert cli.main([*words, "--pixel-mm", "6.8", "--slice-mm", "6.8", "-o", str(tmp_path / "table")]) == 0
    assert "\n1 patient, pooled" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "table" / "table.json").read_text())
    assert "best guess" in numbers["head"]["convention"]["rmse"]
    assert numbers["head"]["seen_in_training"] == {}
    cells = numbers["rows"][0]["whole"]
    assert (cells["rmse"], cells["psnr"]) == (cells["slice_rmse"], cells["slice_psnr"])
    assert (cells["rmse"]["value"] > 0, cells["rmse"]["low"]) == (True, None)
    text = (tmp_path / "table" / "table.md").read_text()
    assert "- Patients: 1, stacks: 1 of unknown phase and plane; 16 x 16 pixels of 6.8 mm, slices 6.8 mm" in text
    with Image.open(tmp_path / "table" / "panel.png") as image:
        assert image.width > WIDTH


def eight_bit(path):
    put(path, "fourth.png", [np.full((16, 16), 7, np.uint8)] * 2, png)


def unequal(path):
    np.save(path / "AC" / "third.npy", np.ones((2, 16, 16), np.float32))


def no_pairs(path):
    for file in path.glob("*/*.npy"):
        file.rename(file.with_suffix(".dat"))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (no_pairs, "expected pairs of .npy, .png, .tif, .tiff files in NC and AC, found none"),
        (unequal, "expected one size of third.npy in NC and in AC, found 3 x 16 x"),
        (eight_bit, "expected 16-bit counts, found an 8-bit image (mode L): counts do not fit into 256 levels"),
    ],
)
def test_what_is_no_pair_is_refused(folder, tmp_path, spoil, sentence):
    spoil(folder[0])
    done = spectac("evaluate", "--data", folder[0], "--models", "identity", "-o", tmp_path / "table")
    assert done.returncode == 2
    assert done.stderr.startswith("spectac: ")
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize(
    ("more", "status", "sentence"),
    [
        (["--normals", "{own}"], 2, "--normals: expected cohorts of `spectac phantom` here and in --data, found pairs"),
        (["--pixel-mm", "20"], 1, "row 'identity': the model needs pixels of 2 to 10 mm, found pixels of 20 x 20"),
    ],
)
def test_what_pairs_cannot_show_is_refused(folder, tmp_path, capsys, more, status, sentence):
    words = ["evaluate", "--data", str(folder[0]), "--models", "identity", "-o", str(tmp_path / "table")]
    assert cli.main([*words, *(word.format(own=folder[0]) for word in more)]) == status
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("spectac: ") == 1
    assert not list((tmp_path / "table").glob("*"))


def test_slices_smaller_than_ssims_window_are_refused(tmp_path, fresh, capsys):
    put(tmp_path / "own", "a.npy", stacks(fresh, side=10))
    words = ["evaluate", "--data", str(tmp_path / "own"), "--models", "linear", "-o", str(tmp_path / "table")]
    assert cli.main([*words, "--pixel-mm", "6.8", "--slice-mm", "6.8"]) == 1
    assert "expected slices of at least 11 x 11 pixels, the window of SSIM, found 10 x 10" in capsys.readouterr().err


def test_other_pixel_sizes_are_corrected_as_correct_does(tmp_path, fresh):
    """Without short axis or names of planes, too; a first stage that changes nothing gives back AC."""
    patients = [["a_rest_SA", "a_rest_HLA"], ["b"], ["c_rest_VLA", "c_rest_HLA"]]
    kept = {}
    for names in patients:
        pair = stacks(fresh, slices=5, side=24)
        # Planes of one acquisition: other counts in every place, but the same count scale.
        kept |= {name: [stack[:: 1 - 2 * k].copy() for stack in pair] for k, name in enumerate(names)}
    for name, pair in kept.items():
        put(tmp_path, f"{name}.npy", pair)
    cohort = PairFolder(tmp_path, 5.1, 4.0)
    model = FakeTranslator("net", slope=1.1, intercept=0.2)
    for i, names in enumerate(patients):
        (phase,) = phases_of(cohort, i)
        planes = Phase(cohort, i, phase, seed=0)
        # A metre apart: planes that overlap with like counts would be averaged, which this row does not do.
        series = [
            Series(
                *(kept[name][0], plane or "SA", "rest", (5.1, 5.1), 4.0),
                *(ORIENTATIONS["SA"], (1000 * k, 0, 0), False, Path(name)),
            )
            for k, (name, plane) in enumerate(zip(names, planes.nc, strict=True))
        ]
        found, _ = planes.correct(Row("net", model))
        for stack, wanted in zip(found.values(), correct_study(Study(tuple(series)), model), strict=True):
            np.testing.assert_allclose(stack, wanted, rtol=1e-6)
        trip, _ = planes.correct(Row("trip", FakeTranslator("vqgan"), given="AC"))
        for stack, ac in zip(trip.values(), planes.ac.values(), strict=True):
            np.testing.assert_allclose(stack, ac, rtol=1e-4)
    # The peak of AC that is 100 % in pictures is that of the plane that sets the count scale.
    assert next(iter(corrected_stacks(cohort, 2, "rest", Row("net", model)))) == "HLA"
