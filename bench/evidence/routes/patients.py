"""One patient for `python -m bench routes`: the same photons reconstructed by every route, cut and measured alike."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydicom.dataset import Dataset
from torch import Tensor

from bench.evidence.clinical.cases import corrected_sa
from bench.evidence.trial.observer import place_of, seen, square, usual_places
from spectac_fast.correct.physics.maps import MapSource
from spectac_fast.correct.physics.views import Preparation
from spectac_fast.correct.physics.volumes import make
from spectac_fast.correct.physics.wanted import Wanted
from spectac_fast.data.scale import heart_mask
from spectac_fast.evaluate.regional.segments import means, percent_of_maximum, polar_map
from spectac_fast.evaluate.regional.ventricle import Ventricle
from spectac_fast.formats.projections import Projections, Window
from spectac_fast.phantom.anatomy import Anatomy, build
from spectac_fast.phantom.people import Patient
from spectac_fast.phantom.protocol import Protocol
from spectac_fast.phantom.protocols import planned
from spectac_fast.phantom.scan import Acquisition, Scan, acquire, map_for, object_grid, prepare
from spectac_fast.phantom.simulate import reconstruct, reconstruct_ideal, sampling, truth
from spectac_fast.reconstruct.planes import Cut, cuts, operator_axes, resample
from spectac_fast.terms import PHASES, PLANES
from spectac_fast.train.maps.paths import Paths

# 20 % about 140.5 keV.
_PEAK_KEV = (126.45, 154.55)
_BODY, _HEART_MM, _DEPTH_MM = 0.02, 60.0, 29 * 6.8
CT, EXACT, PREDICTED, IMAGES = "CT-AC as acquired", "CT-AC, exact map", "predicted map", "image route"
REFERENCES = (CT, EXACT, "IDEAL", "truth")


# Whose defects say where an observer looks in patients without.
_USUAL = range(600_000, 600_048)


@dataclass(frozen=True, eq=False)
class Variant:
    """What networks make of the views before; words: for a row, such as "counts by cunet"."""

    words: str
    wanted: Mapping[str, Any]
    preparation: Preparation

    @property
    def rows(self) -> tuple[str, str]:
        """Of NC and of AC by the predicted map."""
        return f"NC, {self.words}", f"{PREDICTED}, {self.words}"


def breath(mm: float) -> str:
    """The name of CT-AC whose CT was taken at another height of the diaphragm."""
    return f"CT-AC, CT {mm:g} mm off"


def routes(breaths_mm: tuple[float, ...], variants: Sequence[Variant] = ()) -> tuple[str, ...]:
    """Every way to an image, in the order of a table."""
    others = [row for variant in variants for row in variant.rows]
    return ("NC", "Chang", IMAGES, PREDICTED, *others, CT, EXACT, *map(breath, breaths_mm))


@functools.cache
def _usual(protocol_name: str) -> np.ndarray:
    return usual_places([case_of(seed, protocol_name) for seed in _USUAL])


def case_of(seed: int, protocol_name: str) -> dict[str, Any]:
    """What is known of a patient: sex and defects, as in a cohort's index."""
    patient, _ = planned(protocol_name, seed)
    return {"seed": seed, "sex": patient.sex, "defects": [asdict(defect) for defect in patient.defects]}


def measure(
    seed: int,
    protocol_name: str,
    source: MapSource,
    translator: Any,
    breaths_mm: tuple[float, ...],
    variants: Sequence[Variant] = (),
) -> dict[str, np.ndarray]:
    """polar, segments: % of maximum [image, phase, 24, 72] and [image, phase, 17], of `routes` and then "IDEAL" and
    "truth", by the phantom's own ventricle and in one cut; seen: an observer's channels [image, phase, 4] at the worst
    defect, or where one might be; rmse, fitted: within 60 mm of its middle, to IDEAL in % of its 99th percentile, of
    counts as they are and after the factor that suits them best, [route, phase]; map: of the predicted one [phase,
    (mean error of mu in the body and within 60 mm of the heart, over the largest true mu; relative error of the
    photons' survival from there)].
    """
    patient, protocol = planned(protocol_name, seed)
    with torch.inference_mode():
        anatomy = build(patient, object_grid(patient, protocol.camera))
        scan = prepare(anatomy, protocol.camera, "cpu")
        taken = acquire(patient, anatomy, protocol, scan)
        images = _by_ct(patient, anatomy, taken, protocol, scan, breaths_mm)
        made = [_made(taken, scan, i, source, variants) for i in range(len(PHASES))]
        for name, kind in (("NC", "NC"), (PREDICTED, "AC")):
            images[name] = torch.stack([of["predicted"].volumes[kind] for of in made])
        for variant in variants:
            for name, kind in zip(variant.rows, ("NC", "AC")):
                images[name] = torch.stack([of[variant.words].volumes[kind] for of in made])
        images["Chang"] = torch.stack([of["chang"].volumes["AC"] for of in made])
        axes = operator_axes(anatomy.lv.axes, patient.centring, patient.tilt)
        stacks = {name: _cut(volume, scan, cuts(axes)["SA"]) for name, volume in images.items()}
        stacks[IMAGES] = _by_images({p: _cut(images["NC"], scan, c) for p, c in cuts(axes).items()}, scan, translator)
    lv = Ventricle.of_phantom(sampling(patient, anatomy, axes))
    names = routes(breaths_mm, variants)
    spacing = (scan.image.dx,) * 3
    case, rng = case_of(seed, protocol_name), np.random.default_rng((seed, 15))
    places = [place_of(case, phase, rng, _usual(protocol_name)) for phase in PHASES]
    polars, channels = [], []
    for name in (*names, "IDEAL", "truth"):
        polars.append([percent_of_maximum(polar_map(stack, lv, spacing)) for stack in stacks[name]])
        channels.append([seen(square(stack, lv, at, spacing)) for stack, at in zip(stacks[name], places)])
    errors = [_errors(stacks[name], stacks["IDEAL"], spacing) for name in names]
    return {
        "polar": np.array(polars, np.float16),
        "segments": np.array([[means(polar) for polar in of] for of in polars], np.float32),
        "seen": np.array(channels, np.float32),
        "rmse": np.array([e[0] for e in errors], np.float32),
        "fitted": np.array([e[1] for e in errors], np.float32),
        "map": np.array([_map_errors(of["predicted"].mu, anatomy, scan) for of in made], np.float32),
    }


def _by_ct(
    patient: Patient,
    anatomy: Anatomy,
    taken: Acquisition,
    protocol: Protocol,
    scan: Scan,
    breaths_mm: tuple[float, ...],
) -> dict[str, Tensor]:
    """CT-AC of every registration of the CT, the ideal image and the truth, [phase, nz, n, n]."""
    exact = replace(protocol, exact_map=True)
    images = {
        CT: reconstruct(patient, anatomy, taken, protocol, scan)["AC"],
        EXACT: reconstruct(patient, anatomy, taken, exact, scan)["AC"],
        "IDEAL": reconstruct_ideal(anatomy, taken, protocol, scan),
        "truth": truth(anatomy, taken, protocol, scan),
    }
    x, y, z = patient.ct_shift
    for mm in breaths_mm:
        # On top of what is left of a good registration, in the direction of that.
        other = build(replace(patient, ct_shift=(x, y, z + float(np.copysign(mm, z)))), scan.object)
        images[breath(mm)] = reconstruct(patient, other, taken, protocol, scan)["AC"]
    return images


def _made(taken: Acquisition, scan: Scan, phase: int, source: MapSource, variants: Sequence[Variant]) -> dict[str, Any]:
    """What `spectac reconstruct` makes of the counts of a phase: with a predicted map, also of views that networks
    made, and by Chang.
    """
    projections = Projections(
        Window((_PEAK_KEV,), np.ascontiguousarray(taken.counts[phase].numpy().transpose(0, 2, 1)[:, ::-1])),
        (),
        np.asarray(scan.angles),
        np.asarray(scan.radius),
        scan.detector.dx,
        float(scan.detector.axis_z()[-1]),
        "Tc-99m",
        PHASES[phase],
        "LEHR",
        0.0,
        1,
        Path(f"{PHASES[phase]} in memory"),
        Dataset(),
    )
    told = {"planes": ("SA",), "axis": (45.0, 25.0, 0.0, 0.0, 0.0)}
    return {
        "predicted": make(projections, Wanted(ac="predicted", **told), source),
        "chang": make(projections, Wanted(ac="chang", **told)),
        **{
            each.words: make(
                projections, Wanted(ac="predicted", **told, **each.wanted), source, preparation=each.preparation
            )
            for each in variants
        },
    }


def _cut(volume: Tensor, scan: Scan, cut: Cut) -> np.ndarray:
    """Stacks [phase, slices, rows, columns], as deep and wide as those that the models were trained on, or more."""
    grid = scan.image
    return resample(volume, grid, cut, (math.ceil(_DEPTH_MM / grid.dx - 1e-6), grid.n, grid.n)).numpy()


def _by_images(nc: dict[str, np.ndarray], scan: Scan, translator: Any) -> np.ndarray:
    stacks = {(phase, plane): nc[plane][i] for i, phase in enumerate(PHASES) for plane in PLANES}
    found = corrected_sa(stacks, (scan.image.dx,) * 3, translator)
    return np.stack([found[phase] for phase in PHASES])


def _errors(stacks: np.ndarray, ideal: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """[(as they are, after the best factor), phase], % of IDEAL's 99th percentile within 60 mm."""
    inside = heart_mask(stacks.shape[1:], spacing, _HEART_MM) > 0
    out = np.empty((2, len(stacks)))
    for i, (found, wanted) in enumerate(zip(stacks, ideal)):
        a, b = found[inside].astype(float), wanted[inside].astype(float)
        for k, factor in enumerate((1.0, (a @ b) / (a @ a))):
            out[k, i] = 100 * np.sqrt(np.mean((factor * a - b) ** 2)) / np.percentile(b, 99)
    return out


def _map_errors(mu: Tensor, anatomy: Anatomy, scan: Scan) -> tuple[float, float, float]:
    true = map_for(anatomy.mu_emission, scan)
    margin = (mu.shape[-1] - true.shape[-1]) // 2
    mu = mu[:, margin : margin + true.shape[1], margin : margin + true.shape[2]]
    error, most = (mu - true).abs(), float(true.max())
    z, y, x = np.meshgrid(scan.image.axis_z(), scan.image.axis_y(), scan.image.axis_x(), indexing="ij")
    away = np.stack([x, y, z], -1) - np.array(anatomy.lv.axes.centre)
    heart = torch.from_numpy((away**2).sum(-1) < _HEART_MM**2)
    paths = Paths(true.shape[-1], scan.image.dx, 32)
    of_map, of_true = (paths.survival(each[:, None])[:, 0][heart] for each in (mu, true))
    survival = (of_map / of_true).log().abs().mean()
    return float(error[true > _BODY].mean()) / most, float(error[heart].mean()) / most, float(survival)
