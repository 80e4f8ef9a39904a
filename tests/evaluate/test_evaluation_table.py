import csv
import io
import json
import re

import numpy as np
import pytest
import torch
from fake_cohort import LV, PHASES, PLANES, FakeCohort, FakeTranslator
from fake_rows import fake_rows
from scipy.ndimage import map_coordinates

from spectac_fast.errors import InputError, SpectacError
from spectac_fast.evaluate import bootstrap
from spectac_fast.evaluate.regional.segments import segment_means
from spectac_fast.evaluate.regional.ventricle import Ventricle
from spectac_fast.evaluate.table import render, table, variants
from spectac_fast.evaluate.table.phase import Phase, slice_seeds
from spectac_fast.evaluate.table.score import score_cohort

KNOWN = Ventricle.of_phantom(LV)


@pytest.fixture(scope="module")
def evaluated():
    cohort = FakeCohort(np.random.default_rng().integers(1 << 30))
    rows = fake_rows()
    scores = score_cohort(cohort, rows)
    return cohort, scores, table.build(scores, cohort.cases, seed=3, resamples=2000)


def test_pooled_numbers_follow_from_counts(evaluated):
    """RMSE and PSNR of two rows, from the counts alone and in another order of operations."""
    cohort, _, numbers = evaluated
    for label, slope, intercept in (("identity", 1.0, 0.0), ("linear", 1.05, 0.05)):
        row = next(r for r in numbers["rows"] if r["label"] == label)
        rmse = []
        for i in range(len(cohort)):
            squares = []
            for phase in PHASES:
                scale = cohort.scale(i, phase)
                for plane in PLANES:
                    nc, ac = (v.astype(np.float64) for v in cohort.pair(i, phase, plane))
                    corrected = 1.75 * np.maximum(slope * nc + (1 - slope + intercept) * scale / 2, 0)
                    squares.append(((corrected - ac) * 2 / (scale * 1.75)) ** 2)
            rmse.append(np.sqrt(np.mean(squares)))
        assert row["whole"]["rmse"]["value"] == pytest.approx(np.mean(rmse), rel=1e-5)
        assert row["whole"]["psnr"]["value"] == pytest.approx(np.mean(20 * np.log10(2 / np.array(rmse))), rel=1e-5)
        recorded = [p["whole"]["rmse"] for p in row["patients"]]
        np.testing.assert_allclose(recorded, rmse, rtol=1e-5)


def test_what_a_bounded_network_cannot_show_is_told(evaluated):
    cohort, _, numbers = evaluated
    rmse = []
    for i in range(len(cohort)):
        beyond = []
        for phase in PHASES:
            white = cohort.scale(i, phase) * 1.75
            beyond += [2 * np.maximum(cohort.pair(i, phase, plane)[1] / white - 1, 0) for plane in PLANES]
        rmse.append(np.sqrt(np.mean(np.square(beyond))))
    assert np.mean(rmse) > 0
    said = re.search(r"RMSE of (\S+) in the whole field", numbers["head"]["convention"]["bounded"])
    assert float(said[1]) == pytest.approx(np.mean(rmse), abs=6e-5)


def test_every_estimate_is_the_mean_of_its_patients(evaluated):
    _, _, numbers = evaluated
    for row in numbers["rows"]:
        for region in ("whole", "heart"):
            for name in ("ssim", "psnr", "rmse", "slice_psnr", "slice_rmse"):
                values = [p[region][name] for p in row["patients"]]
                cell = row[region][name]
                assert cell["value"] == pytest.approx(np.mean(values), rel=1e-12)
                assert min(values) - 1e-12 <= cell["low"] <= cell["value"] <= cell["high"] <= max(values) + 1e-12
            assert row[region]["psnr_gap"]["value"] == pytest.approx(
                row[region]["slice_psnr"]["value"] - row[region]["psnr"]["value"], abs=1e-9
            )
            assert row[region]["psnr_gap"]["value"] >= 0


def test_rows_are_compared_as_pairs(evaluated):
    _, _, numbers = evaluated
    rows = {row["label"]: row for row in numbers["rows"]}
    for region in ("whole", "heart"):
        assert rows["linear"][region]["rmse_over_linear"] == {"value": 1.0, "low": 1.0, "high": 1.0}
        best = min(variants.BASELINES, key=lambda name: rows[name][region]["rmse"]["value"])
        for label, row in rows.items():
            assert row[region]["rmse_over_linear"]["value"] == pytest.approx(
                row[region]["rmse"]["value"] / rows["linear"][region]["rmse"]["value"], rel=1e-12
            )
            if label in variants.BASELINES:
                assert "against_best_baseline" not in row[region]
                continue
            against = row[region]["against_best_baseline"]
            assert against["baseline"] == best
            for name in ("ssim", "psnr", "rmse"):
                difference = row[region][name]["value"] - rows[best][region][name]["value"]
                assert against[name]["value"] == pytest.approx(difference, abs=1e-12)


def test_gains_of_other_models_are_converted():
    cohort = FakeCohort(np.random.default_rng().integers(1 << 30), cases=2)
    # Doubling the gain and halving the model's counts is the same corrected image.
    same = FakeTranslator("other", slope=0.5, intercept=-0.5, gain=3.5)
    rows = [variants.Row("identity", FakeTranslator("identity")), variants.Row("other", same)]
    first, second = score_cohort(cohort, rows).rows
    for a, b in zip(first.patients, second.patients):
        assert b.whole.rmse == pytest.approx(a.whole.rmse, rel=1e-5)
        assert b.heart.ssim == pytest.approx(a.heart.ssim, rel=1e-5)


def test_separation_needs_all_three_metrics():
    def cells(ssim, psnr, rmse):
        return {
            name: bootstrap.Estimate(v, v - w, v + w)
            for name, v, w in (("ssim", ssim, 0.01), ("psnr", psnr, 0.5), ("rmse", rmse, 0.01))
        }

    base = cells(0.8, 20, 0.2)
    better = table._better_and_separated
    assert better(cells(0.9, 25, 0.1), base)
    assert not better(cells(0.81, 25, 0.1), base)
    assert not better(cells(0.9, 20.5, 0.1), base)
    assert not better(cells(0.9, 25, 0.19), base)
    assert not better(cells(0.7, 15, 0.3), base)
    assert not better(cells(float("nan"), 25, 0.1), base)


def test_results_repeat_and_follow_the_seed():
    cohort = FakeCohort(7, cases=3)

    def run(seed):
        scores = score_cohort(cohort, fake_rows(), seed=seed)
        numbers = table.build(scores, cohort.cases, seed=seed, resamples=2000)
        for row in numbers["rows"]:
            assert row.pop("seconds_per_slice") > 0
        return numbers

    first = run(1)
    assert first == run(1)
    other = run(2)
    assert first["rows"][0]["patients"] == other["rows"][0]["patients"]
    assert first["rows"][5]["patients"] != other["rows"][5]["patients"]


def test_slice_seeds_tell_series_apart():
    sets = [
        slice_seeds(seed, case, phase, plane, 5)
        for seed in (0, 1)
        for case in (600_000, 600_001)
        for phase in PHASES
        for plane in PLANES
    ]
    together = torch.cat(sets)
    assert together.dtype == torch.int64
    assert len(together) == 5 * len(sets)
    assert len(together.unique()) == len(sets)
    assert torch.equal(slice_seeds(0, 600_000, "stress", "SA", 9)[:5], sets[0])


def test_values_that_are_not_finite_end_the_run():
    cohort = FakeCohort(11, cases=1)
    broken = FakeTranslator("broken", intercept=float("nan"))
    with pytest.raises(SpectacError, match=r"'broken' gave values that are not finite for case 600000, stress SA"):
        score_cohort(cohort, [variants.Row("broken", broken)])
    cohort.pair(0, "rest", "HLA")[1][2, 3, 4] = np.inf
    with pytest.raises(InputError, match=r"case 600000, rest HLA"):
        score_cohort(cohort, fake_rows(["identity"]))


def test_one_patient_has_no_interval_and_the_files_say_so(tmp_path):
    cohort = FakeCohort(13, cases=1)
    numbers = table.build(score_cohort(cohort, fake_rows()), cohort.cases, seed=0, resamples=2000)
    cell = numbers["rows"][0]["whole"]["rmse"]
    assert cell["value"] > 0
    assert cell["low"] is None
    assert numbers["rows"][-1]["whole"]["separated_from_baselines"] is False
    table.write(numbers, tmp_path)
    assert json.loads((tmp_path / "table.json").read_text()) == numbers


def test_files_hold_the_same_numbers(evaluated, tmp_path):
    _, _, numbers = evaluated
    paths = table.write(numbers, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in paths)
    assert json.loads((tmp_path / "table.json").read_text()) == numbers
    lines = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    for row in numbers["rows"]:
        for region in ("whole", "heart"):
            wanted = {"row": row["label"], "region": region, "metric": "rmse"}
            (line,) = [line for line in lines if wanted.items() <= line.items()]
            assert [float(line[k]) for k in ("value", "low", "high")] == list(row[region]["rmse"].values())
    text = (tmp_path / "table.md").read_text()
    for part in ("20 log10(2 / RMSE)", "sigma 1.5", "60 mm", "600000 – 600004", "270 slices"):
        assert part in text
    for row in numbers["rows"]:
        cell = row["heart"]["ssim"]
        assert f"{cell['value']:.4f} ({cell['low']:.4f} – {cell['high']:.4f})" in text


def test_terminal_columns_are_aligned(evaluated):
    numbers = evaluated[2]
    titles, header, *lines = render.terminal(render.pooled_values(numbers)).splitlines()
    assert len({len(line) for line in (header, *lines)}) == 1
    assert titles.split("  ")[-1] == "heart region"
    (known,) = [line for line in lines if line.startswith("NC at its best scale")]
    assert known.endswith("–")
    lines.remove(known)
    for line, row in zip(lines, numbers["rows"], strict=True):
        assert line.startswith(row["label"])
        shown = line[len(row["label"]) :].split()
        cells = [row[region][name]["value"] for region in ("whole", "heart") for name in ("ssim", "psnr", "rmse")]
        assert [float(text) for text in shown[:6]] == pytest.approx(cells, abs=6e-3)
    position = titles.index("heart region")
    assert header[position:].split()[:3] == ["SSIM", "PSNR", "dB"]


def test_segments_are_compared_with_ac(evaluated):
    cohort, scores, numbers = evaluated

    def segments(kind):
        stacks = [[cohort.pair(i, phase, "SA")[kind] for phase in PHASES] for i in range(len(cohort))]
        return np.array([[segment_means(stack, KNOWN) for stack in row] for row in stacks])

    nc, ac = segments(0), segments(1)
    np.testing.assert_allclose(scores.segments["AC"], ac)
    error = np.abs(nc - ac).mean()
    assert numbers["reference_segments"]["NC"]["error"]["value"] == pytest.approx(error, rel=1e-12)
    assert numbers["reference_segments"]["AC"]["error"]["value"] == 0
    assert numbers["reference_segments"]["AC"]["contrast_over_ac"]["value"] == 1
    identity = numbers["rows"][0]["segments"]
    assert identity["error"]["value"] == pytest.approx(error, rel=1e-4)
    truth = np.array([[segment_means(cohort.truth(i, p, "SA"), KNOWN) for p in PHASES] for i in range(len(cohort))])
    of_ac = numbers["reference_segments"]["AC"]
    assert of_ac["truth_error"]["value"] == pytest.approx(np.abs(ac - truth).mean())
    expected = np.abs(ac - truth).mean() / np.abs(nc - truth).mean()
    assert of_ac["truth_error_over_nc"]["value"] == pytest.approx(expected)
    assert numbers["reference_segments"]["truth"]["truth_error"]["value"] == 0
    assert identity["error_over_nc"]["value"] == pytest.approx(1, rel=1e-4)
    limit = ac[1:].reshape(-1, 17).mean(0) - 2 * ac[1:].reshape(-1, 17).std(0, ddof=1)
    new = (nc[1:] < limit) & (ac[1:] >= limit)
    assert numbers["reference_segments"]["NC"]["new_low"] == new.sum()
    assert identity["normal_segments"] == 4 * 2 * 17


def test_combined_planes_are_the_mean_of_their_corrections():
    """Written out for the planes of a heart: axes by name, and interpolation by scipy in float64."""
    cohort = FakeCohort(np.random.default_rng().integers(1 << 30), cases=1)
    model = FakeTranslator("net", slope=1.1, intercept=0.2)
    separate, combined = variants.expand(["net"], lambda name: model, steps=1, samples=1)
    planes = Phase(cohort, 0, "stress", seed=0)
    alone, found = planes.correct(separate)[0], planes.correct(combined)[0]
    assert len(model.calls) == 3
    added = {plane: alone[plane].astype(np.float64) - model.gain * planes.nc[plane] for plane in PLANES}
    # Along (frames, rows down, columns right) of each plane: the heart's long axis to the apex, up, and lateral.
    axes = {"SA": ("-long", "-up", "+side"), "VLA": ("+side", "-up", "+long"), "HLA": ("+up", "-long", "+side")}
    for own in PLANES:
        middle = [(n - 1) / 2 for n in added[own].shape]
        heart = {name[1:]: (k, -1 if name[0] == "-" else 1) for k, name in enumerate(axes[own])}
        index = np.indices(added[own].shape).astype(float) - np.array(middle)[:, None, None, None]
        total, weight = added[own].copy(), np.ones_like(added[own])
        for other in set(PLANES) - {own}:
            at = []
            for name, half in zip(axes[other], middle):
                k, sign = heart[name[1:]]
                at.append((sign if name[0] == "+" else -sign) * index[k] + half)
            edge = np.array([np.minimum(u, 2 * half - u) for u, half in zip(at, middle)])
            share = (edge / 2).clip(0, 1).prod(0)
            total += share * map_coordinates(added[other], at, order=1, mode="nearest")
            weight += share
        wanted = np.maximum(model.gain * planes.nc[own] + total / weight, 0)
        np.testing.assert_allclose(found[own], wanted, rtol=1e-4, atol=1e-4 * planes.scale)
    assert not np.array_equal(found["SA"], alone["SA"])


def test_a_first_stage_is_given_ac(evaluated):
    cohort = evaluated[0]
    rows = [
        variants.Row("identity", FakeTranslator("identity")),
        variants.Row("trip", FakeTranslator("vqgan"), given="AC"),
    ]
    scores = score_cohort(cohort, rows, seed=0, cases=1)
    assert scores.rows[1].patients[0].whole.rmse == pytest.approx(0, abs=1e-6)
    assert scores.rows[0].patients[0].whole.rmse > 0.01


def test_bootstrap_intervals():
    rng = np.random.default_rng()
    values = rng.normal(5, 2, 40)
    indices = bootstrap.resample(40, 9, 4000)
    assert np.array_equal(indices, bootstrap.resample(40, 9, 4000))
    assert not np.array_equal(indices, bootstrap.resample(40, 10, 4000))
    assert (indices.min(), indices.max()) == (0, 39)
    found = bootstrap.mean(values, indices)
    half = 1.96 * values.std() / np.sqrt(40)
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)
    assert bootstrap.ratio(3 * values, values, indices).low == pytest.approx(3)
    paired = bootstrap.difference(values + 1, values, indices)
    assert (paired.low, paired.high) == pytest.approx((1, 1))
    with_nan = bootstrap.mean(np.where(np.arange(40) == 3, np.nan, values), indices)
    assert np.isnan([with_nan.value, with_nan.low, with_nan.high]).all()
    assert not with_nan.separated_from(found)
    for bad in ((0, 0, 2000), (5, 0, 1999)):
        with pytest.raises(ValueError, match="at least"):
            bootstrap.resample(*bad)
