"""Rows of other weights beside the bridge that is measured: distilled bridges, and models that draw nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.quality.parts import Store, content, quality
from bench.quality.slices import Slices, central_slices, draw
from spectac_fast.cohort.cohort import Cohort
from spectac_fast.data.scale import to_counts, to_model
from spectac_fast.models.registry import load
from spectac_fast.models.translators.bridge import BridgeTranslator


def named(text: str) -> tuple[str, str]:
    """(label, model) of NAME=FILE, or of a file, whose own name is its label."""
    name, equals, file = text.partition("=")
    return (name, file) if equals else (Path(text).stem, text)


def other_rows(
    store: Store,
    text: str,
    cohort: Cohort,
    cases: Iterable[int],
    slices: Slices,
    gain: float,
    samples: int,
    device: str,
) -> Iterator[dict[str, Any]]:
    """The image that a model gives unless told otherwise, and of a bridge so many samples by its own settings.

    text: as `named` takes it. slices, gain: what is measured, in whose units all rows are. Rows are like those of the
    bridge itself and have "other", the model's method, and "image", "default" or "samples".
    """
    label, file = named(text)
    translator = load(file, device=device)

    def row(image: str, evaluations: int, count: int, key: dict[str, Any], compute: Any) -> dict[str, Any]:
        key = {"other weights": translator.weights_sha256, **key}
        patients = store.part(key, lambda: quality(slices, compute()))
        about = {"solver": label, "other": translator.name, "image": image}
        return about | {"evaluations": evaluations, "samples": count, "patients": patients}

    def same_units(found: NDArray[np.float32]) -> NDArray[np.float32]:
        return to_model(to_counts(found, translator.gain), gain)

    def image() -> NDArray[np.float32]:
        own = central_slices(cohort, translator, cases)
        return same_units(translator.translate(own.nc, own.seeds, neighbours=own.beside)[:, 0].cpu().numpy())[None]

    if not isinstance(translator, BridgeTranslator):
        yield row("default", 1, 1, {"part": "also"}, image)
        return
    defaults, table = (
        translator.defaults,
        translator.sampler(translator.defaults["sample_steps"], None, None, None).table,
    )
    yield row("default", defaults["steps"] * defaults["samples"], 1, {"part": "also"}, image)
    key = {"part": "also, samples", "samples": samples, "table": content(table)}
    yield row(
        "samples",
        len(table),
        samples,
        key,
        lambda: same_units(draw(translator, central_slices(cohort, translator, cases), table, samples)),
    )
