"""What is measured of harm, on polar maps whose defects and changes are known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.evidence.harm import harm
from bench.evidence.harm.measures import LOSSES, SIZES, change, contrasts, hands, inferior
from bench.evidence.harm.page import page

LEVELS, ANGLES = 24, 72


def maps_of(rng, loss=0.0, kept=1.0):
    """Polar maps that lose `loss` of uptake in a sector, the corrected one `kept` of that."""
    base = rng.uniform(50, 100, (LEVELS, ANGLES))
    sector = np.zeros((LEVELS, ANGLES), bool)
    sector[8:16, 50:62] = True

    def lost(share):
        return np.where(sector, base * (1 - share), base)

    return {"NC": 0.5 * lost(loss), "AC": 3 * lost(loss), "TRUTH": lost(loss), "corrected": 2.5 * lost(kept * loss)}


def test_contrast_is_the_loss_and_what_was_kept_of_it():
    seed = int(np.random.default_rng().integers(1 << 30))
    ill, normal = (maps_of(np.random.default_rng(seed), loss, 0.9) for loss in (0.4, 0.0))
    found = contrasts(ill, normal, 0.4)
    assert found == pytest.approx({"NC": 0.4, "corrected": 0.36, "AC": 0.4, "TRUTH": 0.4})
    with pytest.raises(ValueError, match="a defect of 40% has no place"):
        contrasts(normal, normal, 0.4)


def test_a_hand_that_moves_the_correction_as_it_moves_ac_harms_nothing():
    rng = np.random.default_rng()
    usual = maps_of(rng)
    assert change(usual, usual) == {"corrected": 0.0, "AC": 0.0, "beyond AC": 0.0}
    other = maps_of(rng)
    found = change(other, usual)
    assert found["corrected"] == pytest.approx(found["AC"])
    assert found["beyond AC"] == pytest.approx(0.0, abs=1e-9)
    assert change({**other, "corrected": usual["corrected"]}, usual)["beyond AC"] > 0


def test_patients_are_normal_of_one_sex_and_hands_move_one_thing():
    women = harm.normals("F")
    found = [next(women) for _ in range(3)]
    assert {p.sex for p in found} == {"F"}
    assert all(p.normal and p.seed >= harm.FIRST_SEED for p in found)
    assert [np.count_nonzero([*shift, *tilt]) for shift, tilt in hands().values()] == [1] * 5
    assert inferior(50.0, 0.3, 0.2).loss == {"stress": 0.2, "rest": 0.2}


def test_the_page_judges_every_size_depth_and_hand():
    found = {"NC": 0.3, "corrected": 0.36, "AC": 0.4, "TRUTH": 0.5}
    contrast = {size: {f"{loss:.0%}": found for loss in LOSSES} for size in SIZES}
    moved = {name: {"corrected": 1.2, "AC": 1.1, "beyond AC": 0.4} for name in hands()}
    patients = [{"seed": 530000 + i, "sex": sex, "contrast": contrast, "moved": moved} for i, sex in enumerate("FFMM")]
    facts = {"losses": LOSSES, "sizes": SIZES, "patients": patients, "weights_sha256": "ab" * 32, "commit": "c"}
    text = page(facts)
    assert "2 women and 2 men" in text
    assert text.count("| 0.75 | 0.90 (0.90 - 0.90) | missed |") == len(SIZES) * len(LOSSES) * 2
    assert text.count("| 1.20 | 1.10 | 0.40 (0.40 - 0.40) | reached |") == 5
