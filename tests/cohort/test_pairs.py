"""Folders of one's own pairs: what is read, what is refused, and what training makes of them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from own_pairs import SPACING, png, put, stacks, three_patients, tiff
from PIL import Image
from scipy.ndimage import gaussian_filter
from tiny_training import SIDE, tiny_recipe

from spectac_fast import cli
from spectac_fast.cohort.joined import JoinedCohort
from spectac_fast.cohort.paired import left_ventricle_gain
from spectac_fast.cohort.pairs import PairFolder
from spectac_fast.data.geometry.neighbours import neighbours
from spectac_fast.data.scale import count_scale, heart_mask, to_model
from spectac_fast.errors import InputError
from spectac_fast.train.loop.budget import Budget
from spectac_fast.train.run import Options, train
from spectac_fast.train.slices import SlicePairs, cases_of


@pytest.fixture
def folder(tmp_path, fresh):
    return tmp_path / "own", three_patients(tmp_path / "own", fresh)


def test_names_tell_patients_phases_and_planes(folder):
    path, kept = folder
    cohort = PairFolder(path)
    assert [case["patient"] for case in cohort.cases] == ["p1", "second_patient", "third"]
    assert [set(cohort.series(i)) for i in range(3)] == [
        {("stress", "VLA"), ("stress", "SA"), ("rest", "SA")},
        {("rest", "HLA")},
        {(None, None)},
    ]
    assert (cohort.spacing_mm, cohort.shape) == (SPACING, (SIDE, SIDE))
    assert cohort.summary() == "3 patients, 5 stacks, 25 slices of 16 x 16"
    for found, wanted in zip(cohort.pair(0, "rest", "SA"), kept["p1_REST_sa"], strict=True):
        np.testing.assert_array_equal(found, wanted)
    # Of a phase with a short axis that one sets the scale, whatever stands first; else the plane at hand.
    assert cohort.scale(0, "stress") == count_scale(kept["p1_stress_SA"][0], SPACING)
    assert cohort.scale(1, "rest") == count_scale(kept["second_patient_rest_HLA"][0], SPACING)
    assert cohort.scale(2, None) == count_scale(kept["third"][0], SPACING)


def test_flags_go_before_the_file(folder):
    path, _ = folder
    assert PairFolder(path, pixel_mm=5.0).spacing_mm == (4.0, 5.0, 5.0)
    (path / "spacing.json").unlink()
    assert PairFolder(path, pixel_mm=5.0, slice_mm=3.0).spacing_mm == (3.0, 5.0, 5.0)
    with pytest.raises(InputError, match=r"--pixel-mm and --slice-mm, found neither"):
        PairFolder(path, pixel_mm=5.0)


def test_the_same_counts_from_every_kind_of_file(tmp_path, fresh):
    pair = stacks(fresh, slices=12, whole=True)
    put(tmp_path / "npy", "a_rest_SA.npy", pair)
    put(tmp_path / "tiff", "a_rest_SA.tif", pair, tiff)
    put(tmp_path / "float", "a_rest_SA.tiff", [stack.astype(np.float32) for stack in pair], tiff)
    for i in range(12):
        put(tmp_path / "png", f"a_rest_SA_{i + 3}.png", [stack[i] for stack in pair], png)
    for kind in ("npy", "tiff", "float", "png"):
        cohort = PairFolder(tmp_path / kind, 6.8, 4.0)
        assert len(cohort) == 1
        for found, wanted in zip(cohort.pair(0, "rest", "SA"), pair, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_training_sees_stacks_of_any_depth(folder):
    path, kept = folder
    cohort = PairFolder(path)
    gain = left_ventricle_gain(cohort, range(3))
    ratios = [
        count_scale(kept[name][1], SPACING) / count_scale(kept[name][0], SPACING)
        for name in ("p1_stress_SA", "p1_REST_sa", "second_patient_rest_HLA", "third")
    ]
    assert gain == pytest.approx(np.median(ratios))
    data = SlicePairs(cohort, range(3), gain)
    every = np.arange(len(data))
    (nc, ac), beside, heart = data.select(every), data.neighbours(every, 1), data.heart(every)
    begin = 0
    for i in range(3):
        for phase, plane in cohort.series(i):
            raw_nc, raw_ac = cohort.pair(i, phase, plane)
            part, scale = slice(begin, begin + len(raw_nc)), cohort.scale(i, phase)
            # Counts that are not whole numbers are not rounded.
            np.testing.assert_allclose(nc[part, 0], to_model(raw_nc, scale), atol=1e-6)
            np.testing.assert_allclose(ac[part, 0], to_model(raw_ac, scale * gain), atol=1e-6)
            expected = neighbours(nc[part, 0].numpy(), 4.0, (-4.0, 4.0))
            np.testing.assert_array_equal(beside[part], expected)
            np.testing.assert_array_equal(heart[part], heart_mask(raw_nc.shape, SPACING))
            begin += len(raw_nc)
    assert begin == len(data) == 25


def test_a_folder_is_for_what_it_is_given_for(folder):
    cohort = PairFolder(folder[0])
    assert cases_of(cohort, "train") == cases_of(cohort, "validation") == [0, 1, 2]
    with pytest.raises(InputError, match="found 3 patients with the same NC counts twice"):
        JoinedCohort([cohort, cohort])


def change(side, name, make):
    def spoil(path):
        np.save(path / side / name, make(np.load(path / side / name)))

    return spoil


def with_value(value):
    def make(stack):
        stack[1, 2, 3] = value
        return stack

    return make


def remove(*names):
    def spoil(path):
        for name in names:
            (path / name).unlink()

    return spoil


def move(old, new):
    return lambda path: (path / old).rename(path / new)


def image(name, mode):
    def spoil(path):
        for side in ("NC", "AC"):
            Image.new(mode, (SIDE, SIDE), 7).save(path / side / name)

    return spoil


def both(name, make):
    def spoil(path):
        for side in ("NC", "AC"):
            change(side, name, make)(path)

    return spoil


def twice(path):
    for side in ("NC", "AC"):
        shutil.copy(path / side / "third.npy", path / side / "fourth.npy")


def gap(path):
    for number in (1, 2, 4):
        for side in ("NC", "AC"):
            np.save(path / side / f"x_rest_SA_{number}.npy", np.ones((SIDE, SIDE), np.float32))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (move("AC", "CT"), r"expected the folders NC and AC in it, found no AC"),
        (move("NC", "nc0"), r"found no NC"),
        (
            remove("AC/p1_stress_SA.npy", "AC/third.npy"),
            r"found 2 only in NC \(first p1_stress_SA.npy\)\.",
        ),
        (remove("NC/third.npy"), r"found 1 only in AC \(first third.npy\)"),
        # As many files on both sides, and the same positions, make no pairs.
        (move("AC/third.npy", "AC/fourth.npy"), r"1 only in NC \(first third.npy\) and 1 only in AC \(first fourth"),
        (
            change("AC", "third.npy", lambda s: s[1:]),
            r"one size of third.npy in NC and in AC, found 3 x 16 x 16 and 2 ",
        ),
        (
            both("third.npy", lambda s: s[:, 2:]),
            r"third.npy: expected the first file's slices of 16 x 16, found 14 x 16",
        ),
        (change("NC", "third.npy", with_value(np.nan)), r"NC/third.npy: expected finite counts, found NaN"),
        (change("AC", "third.npy", with_value(-3)), r"AC/third.npy: expected counts of at least zero, found -3"),
        (change("AC", "third.npy", lambda s: s.astype(np.uint8)), r"found 8-bit numbers \(uint8\): counts do not fit"),
        (
            change("NC", "third.npy", lambda s: (s / s.max() * 255).astype(np.uint16) * 257),
            r"found only multiples of 257, which is 8-bit data in 16 bits",
        ),
        (change("NC", "third.npy", lambda s: s[None]), r"found 1 x 3 x 16 x 16"),
        (change("NC", "third.npy", lambda s: s + 1j), r"expected real numbers, found complex64"),
        (change("NC", "third.npy", lambda s: 0 * s), r"the NC stack needs positive, finite counts"),
        (change("AC", "third.npy", lambda s: 0 * s), r"the AC stack needs positive, finite counts"),
        (
            image("fourth.png", "L"),
            r"NC/fourth.png: expected 16-bit counts, found an 8-bit image \(mode L\): counts do ",
        ),
        (image("fourth.tif", "RGB"), r"expected a 16-bit greyscale image, found colour \(mode RGB\)"),
        (lambda path: (path / "NC/third.npy").write_bytes(b"none"), r"expected a npy file, found damage"),
        (twice, r"expected every patient once, found fourth and third with the same NC counts"),
        (gap, r"slices without gaps, found x_rest_SA_4.npy after x_rest_SA_2.npy"),
        (lambda path: (path / "spacing.json").write_text("[]"), r"spacing.json: expected"),
        (lambda path: (path / "spacing.json").unlink(), r"or --pixel-mm and --slice-mm, found neither"),
    ],
)
def test_what_cannot_be_paired_is_one_sentence(folder, tmp_path, capsys, spoil, sentence):
    path, _ = folder
    spoil(path)
    assert cli.main(["train", "linear", "--data", str(path), "-o", str(tmp_path / "run")]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("spectac: ")
    assert said.err.count("\n") == 1
    with pytest.raises(InputError, match=sentence) as refused:
        PairFolder(path)
    assert str(refused.value) in said.err
    assert not (tmp_path / "run").exists()


def test_no_pairs_at_all(tmp_path, capsys):
    run = tmp_path / "run"
    assert cli.main(["train", "linear", "--data", str(tmp_path), "-o", str(run)]) == 2
    assert "or stacks in the folders NC and AC, found none of these" in capsys.readouterr().err
    for side in ("NC", "AC"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "1.jpg").write_bytes(b"")
    assert cli.main(["train", "linear", "--data", str(tmp_path), "-o", str(run)]) == 2
    assert "expected pairs of .npy, .png, .tif, .tiff files in NC and AC, found none" in capsys.readouterr().err
    assert not run.exists()


def test_validation_holds_other_patients(folder, tmp_path, capsys):
    path, _ = folder
    words = ["train", "regression", "--data", str(path), "--validation", str(path), "-o", str(tmp_path / "run")]
    assert cli.main(words) == 2
    assert "expected other patients than in --data, found 3 with the same NC counts" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_row_is_fitted_to_pairs(folder, tmp_path, capsys):
    path, _ = folder
    assert cli.main(["train", "linear", "--data", str(path), "-o", str(tmp_path / "run")]) == 0
    assert "own: 3 patients, 5 stacks, 25 slices of 16 x 16" in capsys.readouterr().out
    card = json.loads((tmp_path / "run" / "linear.json").read_text())["card"]
    assert (card["data"]["cases"], card["data"]["slices"]) == (3, 25)


def test_a_model_is_trained_on_pairs(folder, tmp_path, fresh):
    path, _ = folder
    watched = tmp_path / "watched"
    put(watched, "someone_stress_SA.npy", stacks(fresh))
    run = tmp_path / "run"
    train(JoinedCohort([PairFolder(path)]), PairFolder(watched, 6.8, 4.0), run, tiny_recipe(), Options(Budget(steps=2)))
    card = json.loads((run / "card.json").read_text())
    assert card["data"].keys() == {"training_pairs_sha256", "cases", "slices"}
    assert card["validation"]["trained"]["heart"] > 0
    # Who they are is in no file of the run.
    for file in run.iterdir():
        if file.is_file():
            assert b"second_patient" not in file.read_bytes()
            assert b"someone" not in file.read_bytes()


def eight_bit(folder, a="A", b="B", mode="L"):
    """Pairs as the published loaders keep them: PNG of 8 bits, the names of single slices."""
    rng = np.random.default_rng(7)
    for patient in range(3):
        nc = gaussian_filter(rng.random((4, SIDE, SIDE)), (0, 2, 2))
        nc = np.rint(120 * nc / nc.max()).astype(np.uint8)
        for side, stack in ((a, nc), (b, 2 * nc)):
            (folder / side).mkdir(parents=True, exist_ok=True)
            for k, page in enumerate(stack):
                Image.fromarray(page).convert(mode).save(folder / side / f"p{patient}_stress_SA_{k:02d}.png")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_published_folders_of_eight_bits_are_read_where_asked(tmp_path, mode):
    eight_bit(tmp_path / "train", mode=mode)
    pairs = PairFolder(tmp_path / "train", 6.8, 6.8, eight_bit=True)
    nc, ac = pairs.pair(0, "stress", "SA")
    assert nc.shape == (4, SIDE, SIDE)
    assert nc.dtype == np.float32
    assert nc.max() == 120
    assert np.array_equal(ac, 2 * nc)
    with pytest.raises(InputError, match="8-bit" if mode == "L" else "colour"):
        PairFolder(tmp_path / "train", 6.8, 6.8)


def test_training_on_published_folders_says_that_counts_are_lost(tmp_path, capsys):
    eight_bit(tmp_path / "train")
    command = ["train", "linear", "-o", str(tmp_path / "out"), "--pixel-mm", "6.8", "--slice-mm", "6.8"]
    assert cli.main([*command, "--data", str(tmp_path / "train"), "--eight-bit"]) == 0
    assert "counts are lost in 8 bits" in capsys.readouterr().err
    assert cli.main([*command, "--data", str(tmp_path), "--eight-bit"]) == 2
    assert f"give {tmp_path / 'train'}" in capsys.readouterr().err
