"""What is changed at random in training slices, and which image stands as their target."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import SIDE, SLICES, TinyCohort, tiny_recipe

import spectac_fast
from spectac_fast.checkpoints.weights import load_weights
from spectac_fast.cohort.joined import JoinedCohort
from spectac_fast.data.facts import StudyFacts
from spectac_fast.errors import InputError, UsageError
from spectac_fast.models.networks.build import build_network
from spectac_fast.train.augment import Fields, Uptake
from spectac_fast.train.loop.budget import Budget
from spectac_fast.train.recipe import load_recipe
from spectac_fast.train.run import Options, train
from spectac_fast.train.slices import SlicePairs
from spectac_fast.train.supply import Supply
from spectac_fast.train.validation import Validation

PIXEL_MM = 6.8


def fields(share=1.0, half_mm=(30.0, 45.0), round_share=0.0, falls_mm=(0.0,)):
    return Fields(share, half_mm, round_share, falls_mm)


@pytest.fixture
def images(rng):
    return torch.from_numpy(rng.random((6, 3, SIDE, SIDE)).astype(np.float32)) + 0.5


@pytest.mark.parametrize("round_share", [0.0, 1.0])
def test_a_field_ends_at_its_half_width_and_leaves_no_counts(images, rng, round_share):
    half = 40.0
    ended = fields(half_mm=(half, half), round_share=round_share).end(images, PIXEL_MM, rng)
    y, x = np.meshgrid(*2 * [np.abs(np.arange(SIDE) - (SIDE - 1) / 2) * PIXEL_MM], indexing="ij")
    inside = torch.from_numpy((np.hypot(x, y) if round_share else np.maximum(x, y)) <= half)
    assert 0 < int(inside.sum()) < SIDE * SIDE
    assert torch.allclose(ended[:, :, inside], images[:, :, inside], atol=1e-6)
    assert torch.equal(ended[:, :, ~inside], torch.full_like(ended[:, :, ~inside], -1.0))


@pytest.mark.parametrize("round_share", [0.0, 1.0])
def test_counts_beside_a_field_are_those_that_are_kept_and_fall(images, rng, round_share):
    half, falls = 40.0, 13.6
    y, x = np.meshgrid(*2 * [np.abs(np.arange(SIDE) - (SIDE - 1) / 2) * PIXEL_MM], indexing="ij")
    away = np.hypot(x, y) - half if round_share else np.hypot((x - half).clip(0), (y - half).clip(0))
    field = fields(half_mm=(half, half), round_share=round_share, falls_mm=(falls,))
    # What is lost must not be seen through what stands in its place.
    images[:, :, torch.from_numpy(away > 0)] = torch.nan
    assert bool(field.end(images, PIXEL_MM, rng).isfinite().all())
    even = field.end(torch.zeros(1, 1, SIDE, SIDE), PIXEL_MM, rng)[0, 0].numpy() + 1.0
    np.testing.assert_allclose(even, np.exp(-away.clip(0) / falls), rtol=1e-5)


def test_a_share_of_the_slices_keeps_its_field(images, rng):
    many = images.repeat(100, 1, 1, 1)
    ended = fields(share=0.25).end(many, PIXEL_MM, rng)
    lost = float((ended != many).any(3).any(2).any(1).float().mean())
    # Six standard deviations of a share of 600 draws.
    assert lost == pytest.approx(0.25, abs=6 * (0.25 * 0.75 / 600) ** 0.5)
    assert torch.equal(fields(share=0.0).end(images, PIXEL_MM, rng), images)


def test_impossible_fields_are_refused():
    for wrong in ({"share": 1.5}, {"half_mm": (50.0, 40.0)}, {"half_mm": (0.0, 40.0)}, {"falls_mm": ()},
                  {"falls_mm": (-1.0,)}, {"round_share": -0.1}):  # fmt: skip
        with pytest.raises(UsageError, match="fields of a recipe"):
            fields(**wrong)


def test_a_recipe_ends_the_fields_of_images_and_not_the_heart():
    pairs = SlicePairs(TinyCohort([3]), [0], 2.0)
    recipe = tiny_recipe(shift_px=0, scale_jitter=0.0)
    whole, ended = (
        Supply(pairs, recipe.data | extra, torch.device("cpu"), 1, 1).batch(np.random.default_rng(4))
        for extra in ({}, {"fields": dataclasses.asdict(fields())})
    )
    for one, other in ((whole.nc, ended.nc), (whole.ac, ended.ac)):
        lost = other == -1.0
        assert 0 < int(lost.sum()) < lost.numel()
        assert torch.allclose(one[~lost], other[~lost], atol=1e-6)
    assert torch.equal(ended.nc == -1.0, ended.ac == -1.0)
    assert torch.equal((ended.neighbours == -1.0).all(1, keepdim=True), ended.nc == -1.0)
    assert torch.equal(whole.heart, ended.heart)


def uptake(share=1.0, change=(-0.5, -0.5), fwhm_mm=(30.0, 30.0), from_centre_mm=(0.0, 0.0), **others):
    return Uptake(share, change, fwhm_mm, from_centre_mm, **others)


def unknown(slices):
    """Planes that are not known."""
    return np.full(slices, None, object)


def test_a_place_of_other_uptake_is_a_gaussian_in_space(rng):
    heights = np.array([[0.0, -15.0, 15.0], [0.0, 6.8, 13.6]])
    factors = uptake().factors(heights, (SIDE + 1, SIDE + 1), 7.5, unknown(2), rng)
    middle = SIDE // 2
    assert factors.shape == (2, 3, SIDE + 1, SIDE + 1)
    torch.testing.assert_close(factors[0, :, middle, middle], torch.tensor([0.5, 0.75, 0.75]))
    # Half as much at half the width in every direction: two pixels of 7.5 mm.
    for row, column in ((2, 0), (-2, 0), (0, 2), (0, -2)):
        assert float(factors[0, 0, middle + row, middle + column]) == pytest.approx(0.75)
    assert float(factors.min()) >= 0.5
    assert float((factors[:, :, 0, 0] - 1.0).abs().max()) < 0.01


def test_places_lie_in_a_shell_and_in_a_share_of_the_slices(rng):
    heights, side = np.zeros((4000, 1)), 41
    drawn = uptake(0.25, (-0.7, 0.3), (5.0, 5.0), (20.0, 30.0)).factors(heights, (side, side), 2.0, unknown(4000), rng)
    changed = (drawn - 1.0).abs() > 1e-3
    some = changed.flatten(1).any(1)
    # A place above or below the slice changes nothing there: of a shell's directions few lie within it.
    assert 0.0 < float(some.float().mean()) <= 0.25
    assert float(drawn.min()) >= 0.3
    assert float(drawn.max()) <= 1.3
    away = 2.0 * np.hypot(*np.meshgrid(*2 * [np.arange(side) - side // 2]))
    # Narrow ones reach 5 mm on either side of the shell, by then a thousandth of the largest.
    assert away[changed[:, 0].any(0).numpy()].max() < 30.0 + 10.0
    none = uptake(share=0.0).factors(heights[:9], (side, side), 2.0, unknown(9), rng)
    assert torch.equal(none, torch.ones(9, 1, side, side))


@pytest.mark.parametrize(("plane", "axis", "sign"), [("SA", 1, 1), ("VLA", 1, 1), ("HLA", 0, -1), (None, None, 0)])
def test_places_lie_in_the_inferior_wall_as_often_as_asked(rng, plane, axis, sign):
    """Where narrow places of a distance lie is where the whole stack is changed most."""
    side, step, far, count = 25, 4.0, 30.0, 400
    heights = np.broadcast_to((np.arange(side) - side // 2) * step, (count, side))
    planes = np.full(count, plane, object)
    wide = uptake(from_centre_mm=(far, far), fwhm_mm=(12.0, 12.0), inferior_share=0.6)
    factors = wide.factors(heights, (side, side), step, planes, rng).numpy()
    most = np.array([np.unravel_index(np.argmin(stack), stack.shape) for stack in factors])
    places = (most - side // 2) * step
    # Half a step along each axis is not seen.
    assert np.abs(np.linalg.norm(places, axis=1) - far).max() <= step * 3**0.5 / 2 + 1e-9
    anywhere = (1 - 0.5**0.5) / 2
    for k in range(3):
        for way in (-1, 1):
            towards = float((way * places[:, k] / far >= 0.5**0.5 - 0.05).mean())
            share = 0.6 + 0.4 * anywhere if (k, way) == (axis, sign) else (0.4 if axis is not None else 1.0) * anywhere
            # Six deviations, and those places that half a step carries across the cone's edge.
            assert abs(towards - share) <= 6 * (share * (1 - share) / count) ** 0.5 + 0.06


def test_impossible_places_are_refused():
    for wrong in ({"share": -0.1}, {"change": (-1.0, 0.0)}, {"change": (0.2, 0.1)}, {"fwhm_mm": (0.0, 3.0)},
                  {"fwhm_mm": (9.0, 3.0)}, {"from_centre_mm": (-1.0, 3.0)}, {"share": float("nan")},
                  {"from_centre_mm": (5.0, 3.0)}, {"inferior_share": 1.1}, {"filled_share": 1.1}):  # fmt: skip
        with pytest.raises(UsageError, match="uptake of a recipe"):
            uptake(**wrong)
    with pytest.raises(UsageError, match="uptake is of pairs of images, and mumap learns from others"):
        load_recipe("mumap", "native64", {"data.uptake": dataclasses.asdict(uptake())})


def test_what_takes_up_less_does_so_in_nc_in_what_is_wanted_and_beside_them():
    pairs = SlicePairs(TinyCohort([3]), [0], 2.0)
    places = {"uptake": dataclasses.asdict(uptake(fwhm_mm=(60.0, 60.0), from_centre_mm=(20.0, 20.0)))}
    recipe = tiny_recipe(shift_px=0, scale_jitter=0.0)
    # The draws of what reverses neighbours come after those of places.
    plain = pairs.batch(np.random.default_rng(4), recipe.data["batch"], 0, 0.0, 1)
    planted = Supply(pairs, recipe.data | places, torch.device("cpu"), 1, 1).batch(np.random.default_rng(4))
    factor = (planted.nc + 1.0) / (plain.nc + 1.0)
    assert 0.5 <= float(factor.min()) < 0.8
    assert float(factor.max()) <= 1.0 + 1e-6
    torch.testing.assert_close((plain.ac + 1.0) * factor - 1.0, planted.ac, rtol=0, atol=1e-5)
    assert torch.equal(plain.heart, planted.heart)


class ScatteredCohort(TinyCohort):
    """NC and AC corrected for scatter or not, as far as is known."""

    def __init__(self, corrected, keeps):
        super().__init__([3])
        self.known = StudyFacts(scatter_corrected=corrected, keeps_scatter=keeps)

    def facts_of(self, case):
        return self.known


@pytest.mark.parametrize(
    ("corrected", "keeps", "target", "shown"),
    [
        (False, False, "AC", 0.8),
        (None, None, "AC", 0.8),
        (False, True, "AC", 1.0),
        (True, False, "AC", 1.0),
        (True, None, "IDEAL", 1.0),
        # None of what AC keeps is in IDEAL.
        (False, True, "IDEAL", 0.8),
    ],
)
def test_nc_shows_less_of_a_place_where_scatter_fills_it(corrected, keeps, target, shown):
    pairs = SlicePairs(ScatteredCohort(corrected, keeps), [0], 2.0, {target: 1.0})
    place = uptake(fwhm_mm=(60.0, 60.0), filled_share=0.8)
    plain = pairs.batch(np.random.default_rng(4), 30, 0, 0.0, 1)
    planted = pairs.batch(np.random.default_rng(4), 30, 0, 0.0, 1, uptake=place)
    changes = [(getattr(planted, kind) + 1.0) / (getattr(plain, kind) + 1.0) - 1.0 for kind in ("nc", "ac")]
    assert -0.5 - 1e-6 <= float(changes[1].min()) < -0.3
    torch.testing.assert_close(changes[0], shown * changes[1], rtol=0, atol=1e-5)


def test_neighbours_take_up_less_at_their_own_heights():
    """A place in the stack's very middle, so that what it does is known without the draws."""
    pairs, count = SlicePairs(TinyCohort([3]), [0], 2.0), 60
    place = uptake(fwhm_mm=(60.0, 60.0))
    seen = pairs.batch(np.random.default_rng(4), count, 0, 0.0, 1, uptake=place).neighbours
    indices = np.random.default_rng(4).integers(len(pairs), size=count)
    within = indices[:, None] % SLICES + np.array([-1, 0, 1])
    z, y, x = (
        (np.arange(n) - (n - 1) / 2) * mm
        for n, mm in zip((SLICES, SIDE, SIDE), [pairs.slice_mm, *2 * [pairs.pixel_mm]], strict=True)
    )
    away = z[within.clip(0, SLICES - 1)][:, :, None, None] ** 2 + y[:, None] ** 2 + x**2
    factor = torch.from_numpy(1.0 - 0.5 * np.exp(-4 * np.log(2) * away / 60.0**2)).float()
    plain = torch.cat(
        [pairs.neighbours(indices, 1)[:, :1], pairs.select(indices)[0], pairs.neighbours(indices, 1)[:, 1:]], 1
    )
    before, own, after = ((plain + 1.0) * factor - 1.0).split(1, dim=1)
    orders = [torch.cat(order, dim=1) for order in ((before, after), (after, before), (own, own))]
    found = np.array(
        [
            [torch.allclose(image, one, rtol=0, atol=1e-5) for one in of]
            for image, *of in zip(seen, *orders, strict=True)
        ]
    )
    assert bool(found.any(1).all())
    assert bool(found.any(0).all())


def test_targets_are_drawn_as_often_as_the_recipe_says():
    cohort = TinyCohort([3])
    pairs = SlicePairs(cohort, [0], 2.0, {"AC": 1.0, "IDEAL": 3.0})
    every = np.arange(6 * SLICES)
    ac, ideal = (pairs.select(every, targets=kind)[1] for kind in ("AC", "IDEAL"))
    raw = cohort.ideal(0, "stress", "VLA")
    np.testing.assert_allclose(ideal[SLICES : 2 * SLICES, 0], 2 * raw / (cohort.scale(0, "stress") * 2) - 1, atol=1e-5)
    batch = pairs.batch(np.random.default_rng(), 600, 0, 0.0)
    nc, _ = pairs.select(every)
    which = [int(torch.argmax((nc == image).flatten(1).all(1).float())) for image in batch.nc]
    of_ideal = np.array([torch.equal(image, ideal[k]) for image, k in zip(batch.ac, which, strict=True)])
    of_ac = np.array([torch.equal(image, ac[k]) for image, k in zip(batch.ac, which, strict=True)])
    assert np.array_equal(of_ac, ~of_ideal)
    assert of_ideal.mean() == pytest.approx(0.75, abs=6 * (0.75 * 0.25 / 600) ** 0.5)


def test_targets_that_no_cohort_has_are_refused(tmp_path):
    path = tmp_path / "odd.json"
    recipe = load_recipe("bbdm", "native64").as_dict()
    for wrong in ({}, {"TRUTH": 1.0}, {"AC": 0.0}):
        path.write_text(json.dumps(recipe | {"data": recipe["data"] | {"targets": wrong}}))
        with pytest.raises(UsageError, match="targets"):
            load_recipe("bbdm", str(path))


def test_a_cohort_without_the_ideal_image_says_so(tmp_path):
    cohort = TinyCohort([3])
    cohort.ideal = lambda *_: (_ for _ in ()).throw(InputError("no IDEAL"))
    with pytest.raises(InputError, match="no IDEAL"):
        SlicePairs(JoinedCohort([cohort]), [0], 2.0, {"IDEAL": 1.0})
    with pytest.raises(InputError, match="expected IDEAL in the cohort, found AC alone"):
        SlicePairs(JoinedCohort([cohort]), [0], 2.0, {"AC": 1.0, "IDEAL": 1.0})
    assert len(SlicePairs(JoinedCohort([cohort]), [0], 2.0)) == 6 * SLICES


def test_patients_without_the_ideal_image_are_learnt_from_by_ac():
    with_it, without = TinyCohort([3]), TinyCohort([4])
    without.ideal = lambda *_: (_ for _ in ()).throw(InputError("no IDEAL"))
    pairs = SlicePairs(JoinedCohort([with_it, without]), [0, 1], 2.0, {"AC": 1.0, "IDEAL": 1.0})
    batch = pairs.batch(np.random.default_rng(5), 300, 0, 0.0)
    indices = np.random.default_rng(5).integers(len(pairs), size=300)
    ideal = ~np.array([torch.equal(a, b) for a, b in zip(batch.ac, pairs.select(indices)[1], strict=True)])
    of_second = indices >= 6 * SLICES
    assert 0 < of_second.sum() < 300
    assert not ideal[of_second].any()
    assert ideal[~of_second].mean() == pytest.approx(0.5, abs=6 * (0.25 / (~of_second).sum()) ** 0.5)
    with pytest.raises(InputError, match="no IDEAL"):
        SlicePairs(JoinedCohort([with_it, without]), [0, 1], 2.0, {"IDEAL": 1.0})


def test_a_run_learns_the_target_of_its_recipe(tmp_path):
    """IDEAL of the tiny cohort is one and a half times AC."""
    recipe = tiny_recipe(learning_rate=3e-3)
    recipe = dataclasses.replace(recipe, data=recipe.data | {"targets": {"IDEAL": 1.0}})
    path = train(TinyCohort([3, 4]), TinyCohort([500_001]), tmp_path, recipe, Options(Budget(steps=120), seed=1))
    rows = json.loads((path.parent / "card.json").read_text())["validation"]
    trained = rows["trained"]
    assert trained["ideal_heart"] < 0.6 * trained["heart"]
    assert trained["ideal_heart_over_linear"] == pytest.approx(
        trained["ideal_heart"] / rows["linear"]["ideal_heart"], abs=1e-3
    )
    # AC is IDEAL times a factor, so after one factor nothing is left but rounding to whole counts.
    assert rows["AC"]["ideal_heart"] > 0.1
    assert rows["AC"]["ideal_heart_rescaled"] < 0.01
    assert rows["AC"]["heart"] == 0.0


def test_validation_knows_nc_at_its_best_scale():
    cohort = TinyCohort([500_001])
    watched = Validation(cohort, [0], 2.0, (1.0, 0.0), 0, torch.device("cpu"))
    pairs = SlicePairs(cohort, [0], 2.0)
    every = np.arange(len(pairs))
    heart = pairs.heart(every)
    nc, ac = (1 + image[:, 0].numpy()[heart].astype(float) for image in pairs.select(every))
    expected = np.sqrt(np.mean((nc * (nc @ ac) / (nc @ nc) - ac) ** 2))
    assert watched.rows["identity"]["heart_rescaled"] == pytest.approx(expected, rel=1e-5)
    doubled = watched.scores(lambda seen: 2 * seen[:, :1] + 1)
    assert doubled["heart_rescaled_over_nc"] == pytest.approx(1.0, abs=1e-3)
    assert doubled["heart_over_linear"] > 1.0


def test_the_worldwide_recipes_go_on_from_the_same_network():
    """The same network as that of the shipped model, so that its size and its latency stay."""
    worldwide, context = (load_recipe("bbdm", f"native64-{name}") for name in ("worldwide", "context"))
    assert (worldwide.network, worldwide.process) == (context.network, context.process)
    assert worldwide.schedule["kind"] in ("cosine", "linear")
    assert set(worldwide.targets) == {"AC", "IDEAL"}
    Fields(**worldwide.data["fields"])
    tensors, header = load_weights(Path(spectac_fast.__file__).parent / "weights" / "bbdm64.safetensors")
    assert header["config"]["bridge"] == worldwide.process
    for name in ("ideal", "contrast"):
        told = load_recipe("bbdm", f"native64-{name}")
        assert {**told.network, "facts": None} == {**context.network, "facts": None}
        Uptake(**told.data["uptake"])
    own = build_network(told.network).state_dict(prefix="denoise_fn.")
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in tensors.items()}


def test_the_training_that_the_guide_begins_from_the_shipped_weights_can_do_so(repository):
    """A network that is told less than a file knows may not begin from it."""
    text = (repository / "docs" / "pages" / "guides" / "protocols.md").read_text()
    (name,) = re.findall(r"spectac train bbdm --recipe (\S+) --initial spectac_fast/weights/bbdm64.safetensors", text)
    _, header = load_weights(Path(spectac_fast.__file__).parent / "weights" / "bbdm64.safetensors")
    known = header["config"]["network"]["facts"]
    assert load_recipe("bbdm", name).facts[: len(known)] == tuple(known)
