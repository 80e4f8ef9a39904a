"""Rows side by side: trainings that differ in their seed, paired tests, metric profiles, the published table."""

import numpy as np
import pytest
from fake_cohort import FakeCohort, FakeTranslator

from spectac_fast.errors import UsageError
from spectac_fast.evaluate import bootstrap
from spectac_fast.evaluate.table import paired, published, render, table, variants
from spectac_fast.evaluate.table.score import score_cohort


def models():
    return {"identity": FakeTranslator("identity"), "linear": FakeTranslator("linear", slope=1.05, intercept=0.05)}


@pytest.fixture(scope="module")
def evaluated():
    cohort = FakeCohort(np.random.default_rng().integers(1 << 30))
    rows = variants.expand(["identity", "linear"], models().__getitem__, steps=6, samples=8)
    scores = score_cohort(cohort, rows)
    return cohort, scores, table.build(scores, cohort.cases, seed=3, resamples=2000)


def test_trainings_that_differ_in_their_seed_are_one_row():
    rng = np.random.default_rng()
    slopes = rng.uniform(0.9, 1.2, 3)
    files = {f"{k}.safetensors": FakeTranslator("regression", slope=slope) for k, slope in enumerate(slopes)}
    known = models() | files
    rows = variants.expand(["linear", f"regression={'+'.join(files)}"], known.__getitem__, steps=6, samples=8)
    cohort = FakeCohort(rng.integers(1 << 30))
    numbers = table.build(score_cohort(cohort, rows), cohort.cases, seed=0, resamples=2000)
    assert [row["label"] for row in numbers["rows"]] == ["linear", "regression", "regression, planes combined"]
    alone = []
    for file in files:
        scores = score_cohort(cohort, variants.expand(["linear", file], known.__getitem__, steps=6, samples=8))
        alone.append(table.build(scores, cohort.cases, seed=0, resamples=2000)["rows"][1]["heart"]["rmse"]["value"])
    spread = numbers["rows"][1]["heart"]["trainings"]["rmse"]
    assert spread["values"] == pytest.approx(alone, rel=1e-12)
    assert spread["sd"] == pytest.approx(np.std(alone, ddof=1), rel=1e-9)
    assert numbers["rows"][1]["heart"]["rmse"]["value"] == pytest.approx(np.mean(alone), rel=1e-12)
    assert f"{np.mean(alone):.4f} ± {np.std(alone, ddof=1):.4f}" in render.markdown(numbers)


def test_trainings_of_several_methods_are_no_row():
    with pytest.raises(UsageError, match="one method, found identity and linear"):
        variants.expand(["both=identity+linear"], models().__getitem__, steps=6, samples=8)


def test_paper_profile_shows_means_of_slices(evaluated):
    cohort, scores, strict = evaluated
    paper = table.build(scores, cohort.cases, seed=3, resamples=2000, profile="paper")
    for ours, theirs in zip(strict["rows"], paper["rows"], strict=True):
        for shown, slices in (("psnr", "slice_psnr"), ("rmse", "slice_rmse"), ("ssim", "ssim")):
            assert theirs["whole"][shown] == ours["whole"][slices]
    text = render.markdown(paper)
    assert "metric profile paper" in text.splitlines()[0]
    assert "not confirmed" in text


def test_paired_p_values():
    """Exact: with all n differences of one sign, two of the 2^n signings are as extreme."""
    rng = np.random.default_rng()
    indices = bootstrap.resample(8, 0, 2000)
    base = {"rmse": rng.normal(size=8)}
    better, same = base["rmse"] - rng.uniform(0.1, 1.0, 8), base["rmse"].copy()
    first, second = paired.against(base, [{"rmse": better}, {"rmse": same}], indices)
    assert first["rmse"][1] == pytest.approx(2 * 2 / 2**8, rel=1e-9)
    assert second["rmse"][1] == 1.0
    assert paired.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert np.isnan(paired.signed_rank(np.array([1.0, np.nan])))


def test_the_published_table_stands_beside_ours():
    def row(name, label, rmse, **options):
        cells = {"ssim": {"value": 1 - rmse}, "psnr": {"value": 30.0}, "rmse": {"value": rmse}}
        return {
            "name": name,
            "model": name,
            "label": label,
            "options": options,
            "planes_combined": False,
            "whole": cells,
        }

    rows = [
        row("pix2pix", "pix2pix", 0.05),
        row("bbdm", "bbdm, 1 evaluation", 0.01, steps=1, samples=1),
        row("bbdm", "bbdm, mean of 8", 0.02, steps=6, samples=8),
        row("bbdm", "bbdm, one 6-step sample", 0.06, steps=6, samples=1),
        row("linear", "linear", 0.2),
    ]
    first, second = published.beside(rows)
    assert (first["method"], first["our_rmse_rank"], first["published_rmse_rank"]) == ("pix2pix", 1, 2)
    assert first["our_rmse_gap"] == pytest.approx(-0.01)
    assert second["our_row"] == "bbdm, one 6-step sample"
    assert published.beside(rows[1:]) == []
