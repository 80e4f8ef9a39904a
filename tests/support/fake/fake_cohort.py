"""A small cohort in memory, with the reader's interface, and translators with known answers."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from spectac_fast.data.scale import count_scale

PHASES, PLANES = ("stress", "rest"), ("SA", "VLA", "HLA")
LV = {
    "base_long_mm": -40.0,
    "base_up_mm": 0.0,
    "base_lateral_mm": 0.0,
    "equator_mm": 25.0,
    "mid_radius_mm": 28.0,
    "mid_length_mm": 55.0,
    "wall_mm": 10.0,
}


def defect(angle=110.0, stress=0.7, rest=0.0):
    return {"angle": angle, "width": 110.0, "base": 0.3, "apex": 0.8, "loss": {"stress": stress, "rest": rest}}


class FakeCohort:
    """Random shells: AC is NC with its lower half made brighter."""

    kinds = ("NC", "AC", "TRUTH")
    spacing_mm = (6.8, 6.8, 6.8)

    def __init__(self, seed, cases=5, slices=9, side=32):
        rng = np.random.default_rng(seed)
        axes = [(np.arange(n) - (n - 1) / 2) * 6.8 for n in (slices, side, side)]
        z, y, x = np.meshgrid(*axes, indexing="ij")
        self.cases, self._stacks = [], {}
        for i in range(cases):
            defects = [defect()] if i == 0 else []
            about = {"seed": 600_000 + i, "sex": "MF"[i % 2], "bmi": 20.0 + i}
            self.cases.append(about | {"defects": defects, "lv": LV})
            for phase in PHASES:
                for plane in PLANES:
                    shell = 100 * np.exp(-(((np.hypot(np.hypot(x, y), z) - 30) / 9) ** 2)) + 4
                    noisy = shell + gaussian_filter(rng.normal(0, 20, shell.shape), 1)
                    nc = np.maximum(noisy, 0).astype(np.float32)
                    ac = nc * (1.5 + 0.5 / (1 + np.exp(-y / 20))) + np.abs(rng.normal(0, 2, nc.shape))
                    self._stacks[i, phase, plane] = nc, ac.astype(np.float32)

    def __len__(self):
        return len(self.cases)

    def series(self, index):
        return [(phase, plane) for phase in PHASES for plane in PLANES]

    def mapped(self, index, phase, plane):
        return None

    def pair(self, index, phase, plane):
        return self._stacks[index, phase, plane]

    def spacing_of(self, index, phase=None, plane=None):
        return self.spacing_mm

    def truth(self, index, phase, plane):
        return gaussian_filter(self._stacks[index, phase, plane][1], 1)

    def scale(self, index, phase):
        return count_scale(self.pair(index, phase, "SA")[0], self.spacing_mm)


class FakeIdealCohort(FakeCohort):
    """AC is IDEAL with noise of its own."""

    kinds = ("NC", "AC", "TRUTH", "IDEAL")

    @property
    def seeds(self):
        return [case["seed"] for case in self.cases]

    def ideal(self, index, phase, plane):
        _, ac = self.pair(index, phase, plane)
        noise = np.random.default_rng([index, len(phase), *plane.encode()]).normal(0, 3, ac.shape)
        return (ac + noise).astype(np.float32)


class FakeTranslator:
    """output = slope * NC + intercept (+ noise from the slice seeds, divided by sqrt(samples))."""

    pixel_mm = 6.8
    device = torch.device("cpu")
    weights_sha256 = ""
    context_mm = ()

    def __init__(self, name, slope=1.0, intercept=0.0, noise=0.0, gain=1.75):
        self.name, self.slope, self.intercept, self.noise, self.gain = name, slope, intercept, noise, gain
        self.card = {"training": "none"}
        self.calls = []

    def translate(self, nc, seeds=None, neighbours=None, **options):
        assert nc.dtype == torch.float32
        assert nc.ndim == 4
        assert nc.shape[1] == 1
        self.calls.append((len(nc), options))
        out = self.slope * nc + self.intercept
        if self.noise:
            draws = [torch.Generator().manual_seed(int(s)) for s in seeds]
            fields = torch.stack([torch.randn(nc.shape[1:], generator=g) for g in draws])
            out = out + self.noise * fields / options["samples"] ** 0.5
        return out
