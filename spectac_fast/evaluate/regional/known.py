"""What is known of a cohort's patients beside their NC and AC images, and of the models that saw them before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spectac_fast.cohort.pairs import pairs_sha256

Case = Mapping[str, Any]


def hearts_are_known(cases: Sequence[Case]) -> bool:
    """Whether the ventricle, its defects and its uptake are known, and how the planes of a phase lie to each other.

    So it is of synthetic patients, not of a researcher's own pairs.
    """
    return all("lv" in case for case in cases)


def key_of(case: Case) -> int | str:
    """What tells a patient from others: the seed of a synthetic one, the SHA-256 of the NC counts of another."""
    return case["seed"] if "seed" in case else case["sha256"]


def seen_in_training(card: Mapping[str, Any], cases: Sequence[Case], count: int) -> int:
    """How many of the first `count` cases of a cohort a model was trained on, as far as its card tells.

    A card names the seeds of synthetic patients; of others it holds one digest, which tells that all of them are the
    same patients as all of the cohort's, and nothing of some.
    """
    data = card.get("data")
    if not isinstance(data, Mapping):
        return 0
    ranges, digest = data.get("training_seeds", ()), data.get("training_pairs_sha256")
    same = digest is not None and digest == pairs_sha256(cases)
    return sum(
        any(low <= case["seed"] <= high for low, high in ranges) if "seed" in case else same for case in cases[:count]
    )
