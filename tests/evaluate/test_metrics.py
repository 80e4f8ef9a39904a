import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from spectac_fast.evaluate.table.metrics import PSNR_CAP_DB, SeriesPair, psnr, score_patient, slice_scores, ssim_map

EPS = np.finfo(np.float64).eps


def skimage_ssim(a, b, data_range, full=False):
    return structural_similarity(
        a, b, data_range=data_range, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=full
    )


def pairs():
    rng = np.random.default_rng()
    noise = rng.uniform(-1, 1, (3, 64, 64))
    blob = np.exp(-((np.arange(48) - 20.3) ** 2)[:, None] / 90 - ((np.arange(37) - 17.0) ** 2)[None] / 40)
    return {
        "range -1..1": (noise, rng.uniform(-1, 1, noise.shape), 2.0),
        "smooth plus noise": (2 * blob[None] - 1 + rng.normal(0, 0.02, (2, 48, 37)), 2 * blob[None] - 1, 2.0),
        "two constants": (np.full((2, 16, 11), 0.3), np.full((2, 16, 11), -0.7), 2.0),
        "identical": (noise, noise.copy(), 2.0),
        "tiny difference": (np.full((1, 20, 20), 0.6), 0.6 + rng.normal(0, 1e-7, (1, 20, 20)), 2.0),
        "large values": (rng.uniform(0, 3e4, (2, 32, 32)), rng.uniform(0, 3e4, (2, 32, 32)), 3e4),
        "hot voxels above the range": (noise + 30 * (noise > 0.99), noise, 2.0),
    }


@pytest.mark.parametrize("name", list(pairs()))
def test_ssim_equals_scikit_image(name):
    a, b, data_range = pairs()[name]
    a, b = np.broadcast_arrays(a, b)
    ours = ssim_map(a, b, data_range)
    # scikit-image subtracts squares: its own rounding, relative to C2, bounds what can be asked.
    bound = 50 * EPS * max(np.abs(a).max(), np.abs(b).max()) ** 2 / (0.03 * data_range) ** 2 + 1e-13
    for s in range(len(a)):
        mean, full = skimage_ssim(a[s], b[s], data_range, full=True)
        np.testing.assert_allclose(ours[s], full[5:-5, 5:-5], rtol=0, atol=bound)
        assert abs(slice_scores(a, b, data_range).ssim[s] - mean) <= bound


def test_weak_structure_on_a_high_level_does_not_cancel():
    rng = np.random.default_rng()
    x, y = 1e-3 * rng.normal(size=(2, 24, 24))

    def window(values):
        return gaussian_filter(values, 1.5, truncate=3.5)[5:-5, 5:-5]

    # Variances do not know the level, so they are taken without it; the luminance term is one within (1e-3 / 1e4)^2.
    variance = window(x * x) - window(x) ** 2 + window(y * y) - window(y) ** 2
    covariance = window(x * y) - window(x) * window(y)
    c2 = (0.03 * 1e-3) ** 2
    expected = (2 * covariance + c2) / (variance + c2)
    ours = ssim_map(1e4 + x[None], 1e4 + y[None], data_range=1e-3)[0]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)
    cancelling = skimage_ssim(1e4 + x, 1e4 + y, 1e-3, full=True)[1][5:-5, 5:-5]
    assert np.abs(cancelling - expected).max() > 1e-4


def test_constant_slices_follow_the_closed_form():
    rng = np.random.default_rng()
    a, b = rng.uniform(-1, 1, 2)
    value = (2 * a * b + 4e-4) / (a * a + b * b + 4e-4)
    np.testing.assert_allclose(ssim_map(np.full((1, 13, 12), a), np.full((1, 13, 12), b)), value, rtol=1e-12)


def test_rmse_and_psnr_of_slices():
    rng = np.random.default_rng()
    a, b = rng.uniform(-1, 1, (2, 5, 20, 30))
    scores = slice_scores(a, b)
    rmse = np.array([np.linalg.norm(x - y) / np.sqrt(600) for x, y in zip(a, b)])
    np.testing.assert_allclose(scores.rmse, rmse, rtol=1e-12)
    np.testing.assert_allclose(scores.psnr, 20 * np.log10(2 / rmse), rtol=1e-12)
    assert psnr(0.0) == pytest.approx(PSNR_CAP_DB)
    assert np.isnan(psnr(np.nan))


def test_nan_reaches_its_own_slice_and_no_other():
    rng = np.random.default_rng()
    a, b = rng.uniform(-1, 1, (2, 3, 16, 16))
    a[1, 8, 8] = np.nan
    scores = slice_scores(a, b)
    for values in (scores.ssim, scores.psnr, scores.rmse):
        assert np.array_equal(np.isnan(values), [False, True, False])


@pytest.mark.parametrize(
    ("first", "second"), [((2, 16, 16), (2, 16, 15)), ((16, 16), (16, 16)), ((2, 10, 16), (2, 10, 16))]
)
def test_wrong_shapes_are_refused(first, second):
    with pytest.raises(ValueError, match=r"slices|11 x 11"):
        ssim_map(np.zeros(first), np.zeros(second))


def series(rng, slices=4, shape=(20, 24)):
    reference = rng.uniform(-0.9, 1, (slices, *shape))
    heart = np.zeros(reference.shape, dtype=bool)
    heart[1:3, 7:14, 8:15] = rng.random((2, 7, 7)) < 0.7
    return SeriesPair(reference + rng.normal(0, 0.1, reference.shape), reference, heart)


def test_patient_scores_pool_all_series():
    rng = np.random.default_rng()
    first, second = series(rng), series(rng, slices=6)
    scores = score_patient([first, second])
    error = np.concatenate([(p.prediction - p.reference).ravel() for p in (first, second)])
    assert scores.whole.rmse == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-12)
    assert scores.whole.psnr == pytest.approx(20 * np.log10(2 / scores.whole.rmse), rel=1e-12)
    each = [skimage_ssim(x, y, 2.0) for p in (first, second) for x, y in zip(p.prediction, p.reference)]
    assert scores.whole.ssim == pytest.approx(np.mean(each), abs=1e-12)
    inside = np.concatenate([(p.prediction - p.reference)[p.heart] for p in (first, second)])
    assert scores.heart.rmse == pytest.approx(np.sqrt(np.mean(inside**2)), rel=1e-12)
    maps = [
        skimage_ssim(x, y, 2.0, full=True)[1][mask]
        for p in (first, second)
        for x, y, mask in zip(p.prediction, p.reference, p.heart)
    ]
    assert scores.heart.ssim == pytest.approx(np.concatenate(maps).mean(), abs=1e-12)
    per_slice = [np.sqrt(np.mean((x - y) ** 2)) for p in (first, second) for x, y in zip(p.prediction, p.reference)]
    assert scores.whole.slice_rmse == pytest.approx(np.mean(per_slice), rel=1e-12)
    assert scores.whole.psnr_gap == pytest.approx(np.mean(20 * np.log10(2 / np.array(per_slice))) - scores.whole.psnr)
    assert scores.whole.psnr_gap > 0
    assert (scores.slices, scores.empty_slices, scores.capped_slices) == (10, 0, 0)


def test_empty_slices_count_in_the_pool_only():
    rng = np.random.default_rng()
    full = series(rng)
    reference, prediction = full.reference.copy(), full.prediction.copy()
    reference[0] = prediction[0] = -1
    scores = score_patient([SeriesPair(prediction, reference, full.heart)])
    rest = score_patient([SeriesPair(prediction[1:], reference[1:], full.heart[1:])])
    assert scores.empty_slices == 1
    assert scores.whole.ssim == rest.whole.ssim
    assert scores.whole.slice_rmse == pytest.approx(rest.whole.slice_rmse, rel=1e-14)
    assert scores.whole.rmse == pytest.approx(rest.whole.rmse * np.sqrt(3 / 4), rel=1e-12)


def test_an_exact_slice_is_capped_and_counted():
    pair = series(np.random.default_rng())
    prediction = pair.prediction.copy()
    prediction[2] = pair.reference[2]
    scores = score_patient([SeriesPair(prediction, pair.reference, pair.heart)])
    assert scores.capped_slices == 1
    assert np.isfinite(scores.whole.slice_psnr)


def test_nan_never_leaves_a_number():
    for spoil in ("prediction", "reference"):
        pair = series(np.random.default_rng())
        getattr(pair, spoil)[1][pair.heart[1]] = np.nan
        scores = score_patient([pair])
        for region in (scores.whole, scores.heart):
            for name in ("ssim", "psnr", "rmse", "slice_psnr", "slice_rmse"):
                assert np.isnan(getattr(region, name))


def test_a_region_without_counts_is_an_error():
    empty = -np.ones((2, 16, 16))
    with pytest.raises(ValueError, match="no slice with counts"):
        score_patient([SeriesPair(empty, empty, np.ones(empty.shape, dtype=bool))])
