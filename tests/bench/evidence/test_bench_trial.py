"""The readers of the in-silico trial, on images whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.evidence.trial import observer, page, trial
from spectac_fast.evaluate.regional.ventricle import Ventricle

MM = (6.8, 6.8, 6.8)
VENTRICLE = Ventricle((0.0, 0.0, 0.0), 28.0, 55.0, -25.0)


def heart(angle=None, loss=0.6, noise=0.0, rng=None):
    """A ventricle [21, 40, 40], with a defect in the middle of its wall at an angle."""
    z, y, x = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * 6.8 for n in (21, 40, 40)), indexing="ij")
    along, up, lateral = -z, -y, x
    outwards = np.hypot(up, lateral)
    middle = 28.0 * np.sqrt(np.clip(1 - (along / 55.0) ** 2, 0, 1))
    wall = 100 * np.exp(-(((outwards - middle) / 7) ** 2)) * ((along > -25) & (along < 55))
    if angle is not None:
        off = np.abs((np.degrees(np.arctan2(up, lateral)) - angle + 180) % 360 - 180)
        wall = wall * (1 - loss * (off < 35) * (along > -5) * (along < 25))
    return wall + 5 + (0 if rng is None else rng.normal(0, noise, wall.shape))


@pytest.mark.parametrize("angle", [0.0, 90.0, 180.0, 270.0, 33.0])
def test_the_wall_lies_alike_wherever_on_the_heart_it_is(angle):
    found = observer.square(heart(), VENTRICLE, (angle, 0.4), MM)
    middle = observer.SIDE // 2
    assert found[middle - 1 : middle + 1, middle - 1 : middle + 1].mean() > 80
    # The cavity lies below, the outside above.
    below, above = (found[row, middle - 1 : middle + 1].mean() for row in (middle + 8, middle - 8))
    assert below < 40
    assert above < 20
    lost = observer.square(heart(angle), VENTRICLE, (angle, 0.4), MM)
    assert lost[middle - 1 : middle + 1, middle - 1 : middle + 1].mean() < 0.6 * found.max()


def test_channels_are_octaves_about_the_middle():
    images = observer.channels().reshape(4, observer.SIDE, observer.SIDE)
    for k, image in enumerate(images):
        np.testing.assert_allclose(image, image.T, atol=1e-12)
        np.testing.assert_allclose(image, image[::-1, ::-1], atol=1e-12)
        power = np.abs(np.fft.fft2(image)) ** 2
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(observer.SIDE), np.fft.fftfreq(observer.SIDE)))
        inside = (frequency >= observer.EDGES[k]) & (frequency < observer.EDGES[k + 1])
        assert power[inside].sum() > 0.999 * power.sum()
    assert np.abs(images.sum(axis=(1, 2))).max() < 1e-9


def test_the_observer_tells_defects_from_none_and_not_noise_from_noise():
    rng = np.random.default_rng()
    ill = np.arange(30)[:, None] % 2 * np.ones((1, 2), int)
    places = rng.uniform(0, 360, ill.shape)

    def outputs(loss):
        return np.array(
            [
                [
                    observer.seen(
                        observer.square(heart(angle if sick else None, loss, 4.0, rng), VENTRICLE, (angle, 0.4), MM)
                    )
                    for sick, angle in zip(row, angles)
                ]
                for row, angles in zip(ill, places)
            ]
        )

    from bench.evidence.clinical.detect import area

    assert area(observer.ratings(outputs(0.5), ill).ravel(), ill.ravel()) > 0.95
    # With 60 images, 0.5 has a deviation of 0.075, and less for templates that learned from the others' noise.
    assert area(observer.ratings(outputs(0.0), ill).ravel(), ill.ravel()) < 0.87


def test_nothing_is_rated_without_both_kinds():
    assert np.isnan(observer.ratings(np.ones((4, 2, 4)), np.zeros((4, 2), int))).all()


def test_places_are_those_of_the_worst_defect_or_usual_ones():
    weak = {"angle": 10.0, "base": 0.2, "apex": 0.4, "loss": {"stress": 0.1, "rest": 0.0}}
    worst = {"angle": 200.0, "base": 0.4, "apex": 1.2, "loss": {"stress": 0.6, "rest": 0.0}}
    rng = np.random.default_rng(0)
    usual = observer.usual_places([{"defects": [weak, worst]}, {"defects": []}])
    assert observer.place_of({"defects": [weak, worst]}, "stress", rng, usual) == (200.0, 0.7)
    elsewhere = [observer.place_of({"defects": [weak, worst]}, "rest", rng, usual) for _ in range(30)]
    assert {angle for angle, _ in elsewhere} == {10.0, 200.0}
    assert usual.shape == (2, 2)


def patients_of(rng, spread):
    """Patients of whom half have a defect, with what the readers see of AC, of something as good, and of noise."""
    found = []
    for i in range(24):
        sick = i % 2
        defects = [{"loss": {"stress": 0.6, "rest": 0.6}, "angle": 0, "base": 0, "apex": 1}] if sick else []
        seen = {
            kind: rng.normal(2.5 * sick if kind != "NC" else 0, spread, (2, 4)) for kind in ("NC", "corrected", "AC")
        }
        polar = np.full((2, 3, 24, 72), 80.0) + rng.normal(0, 2, (2, 3, 1, 1))
        polar[:, 1:, :, :20] -= 40 * sick
        measures = {"polar": polar, "seen": np.stack(list(seen.values()), axis=1)}
        found.append(({"seed": i, "sex": "MF"[i // 2 % 2], "defects": defects}, measures))
    return found


def test_areas_of_both_readers_and_the_verdict():
    rng = np.random.default_rng()
    group = [(case, measures) for case, measures in patients_of(rng, 1.0) if not case["defects"]]
    table = trial.evaluate({"a": patients_of(rng, 0.5), "b": patients_of(rng, 0.5)}, group, ["b"])
    assert set(table["rows"]) == {"a", "b", "all protocols", "never trained on"}
    for reader in ("deficit", "observer"):
        own = table["rows"]["all protocols"][reader]
        assert own["AC"][0] > 0.95
        assert own["corrected"][0] > 0.95
        assert own["NC"][0] < 0.85
        assert own["corrected - AC"][1] <= own["corrected - AC"][0] <= own["corrected - AC"][2]
        assert table["rows"]["b"][reader] == table["rows"]["never trained on"][reader]
    about = {"seeds": [1, 24], "commit": "c", "machine": "m", "weights_sha256": "0" * 64}
    said = page.page(table | about)
    assert "| a | 24 / 24 |" in said
    assert "Not in the training: b." in said


@pytest.mark.parametrize(
    ("interval", "said"), [((0, -0.04, 0.1), "yes"), ((0, -0.06, 0), "open"), ((-1, -2, -0.06), "no")]
)
def test_the_verdict_follows_the_interval(interval, said):
    assert page.verdict({"corrected - AC": interval}, 0.05) == said
