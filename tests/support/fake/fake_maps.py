"""A cohort of attenuation maps without a phantom: cylinders of water that hold a hot ball in two lungs' air."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from spectac_fast.cohort.map_cohort import FORMAT_MAPS, MAP_KINDS, MAP_SHAPE

HEART_MM = (40.0, -30.0, 0.0)


def write_maps(folder: Path, seeds: list[int], rows: tuple[int, int] = (14, 34)) -> Path:
    """Bodies of other widths; NC falls towards their middle, as attenuation makes it."""
    rng = np.random.default_rng(seeds[0])
    z, y, x = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * 6.8 for n in MAP_SHAPE), indexing="ij")
    volumes = np.zeros((len(seeds), len(MAP_KINDS), *MAP_SHAPE), np.float16)
    for volume in volumes:
        half = rng.uniform(130, 190)
        level = np.hypot(x / half, y / (0.65 * half))
        body, ball = level < 1, (x - HEART_MM[0]) ** 2 + (y - HEART_MM[1]) ** 2 + (z - HEART_MM[2]) ** 2 < 45**2
        lungs = ((np.abs(x) - 0.5 * half) ** 2 + (y / 1.3) ** 2 < (0.35 * half) ** 2) & ~ball
        mu = np.where(body, np.where(lungs, 0.04, 0.15), 0.0)
        counts = np.where(body, 20 + 15 * level, 0) * np.where(lungs, 0.6, 1.0) + 120 * ball
        for i in range(2):
            volume[i] = rng.poisson(counts)
        volume[2], volume[3] = mu, np.roll(mu, 1, axis=0)
    cases = [
        {"seed": seed, "rows": list(rows), "field_mm": 435.2, "heart_mm": list(HEART_MM)} for seed in seeds
    ]  # fmt: skip
    folder.mkdir(parents=True)
    np.save(folder / "cohort.npy", volumes)
    (folder / "index.json").write_text(json.dumps({"format": FORMAT_MAPS, "kinds": MAP_KINDS, "cases": cases}))
    return folder
