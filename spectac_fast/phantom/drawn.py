"""A protocol for each study: what departments do, drawn at random.

Distributions lie about the guidelines (ASNC: Dorbala et al., J Nucl Cardiol 2018;25:1784; EANM: Verberne et al., Eur J
Nucl Med Mol Imaging 2015;42:1929: 60 or 64 views over 180 degrees, 64 x 64 pixels of 6.4 +- 0.4 mm, high-resolution
collimator, FBP or OSEM, prone where the inferior wall is in doubt) and are chosen wide: no survey of what departments
really set is known to us. The shares of what guidelines do not recommend are above those of departments, so that no
training is without them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import count

import numpy as np

from spectac_fast.phantom.protocol import HANOI, RANDOM, Camera, Field, Protocol
from spectac_fast.reconstruct.settings import Filter, Reconstruction

HANOI_SHARE = 0.12
# Families of protocols that a draw can be without, by the names of the protocols that stand for them.
FAMILIES: dict[str, Callable[[Protocol], bool]] = {
    "fbp": lambda p: p.nc.method == "FBP",
    "rr": lambda p: p.nc.resolution_recovery or p.ac.resolution_recovery,
    "gaussian": lambda p: "gaussian" in (p.nc.filter.kind, p.ac.filter.kind),
    "hann": lambda p: "hann" in (p.nc.filter.kind, p.ac.filter.kind),
    "no-scatter-correction": lambda p: p.ac.scatter == "none",
    "dew": lambda p: "dew" in (p.ac.scatter, p.nc.scatter),
    "arc360": lambda p: p.camera.arc == 360,
    "views30": lambda p: p.camera.views <= 32,
    "views120": lambda p: p.camera.views >= 120,
    "legp": lambda p: p.camera.collimator == "LEGP",
    "czt": lambda p: p.camera.collimator == "CZT",
    "matrix128": lambda p: p.camera.matrix == 128,
    "box": lambda p: p.field.outside == "zeroed",
    "cropped": lambda p: p.field.outside == "cropped",
    "counts-quarter": lambda p: p.counts < 0.4,
    "prone": lambda p: p.position == "prone",
}


def draw_protocol(seed: int, without: Collection[str] = ()) -> Protocol:
    """The protocol of a seed; without: families of `FAMILIES` that it must not be of (others than those are no
    protocol's business).
    """
    refused = [FAMILIES[name] for name in without if name in FAMILIES]
    for attempt in count():
        protocol = _draw(np.random.default_rng((seed, 11, attempt)))
        if not any(belongs(protocol) for belongs in refused):
            return protocol
    raise AssertionError("count never ends")


def _draw(rng: np.random.Generator) -> Protocol:
    # Part of every cohort is the first one, so that nothing is lost there.
    if rng.random() < HANOI_SHARE:
        return HANOI
    camera = _cardiac(rng) if rng.random() < 0.16 else _general(rng)
    nc, ac = _reconstructions(rng, camera)
    return Protocol(
        name=RANDOM,
        camera=camera,
        nc=nc,
        ac=ac,
        field=_field(rng),
        # A quarter: stress-first or paediatric doses, short scans of the obese; double: two-day protocols.
        counts=float(np.exp(rng.uniform(np.log(0.25), np.log(2.0)))),
        position="prone" if rng.random() < 0.10 else "supine",
    )


def _general(rng: np.random.Generator) -> Camera:
    """A general camera, of two heads at right angles or opposite each other."""
    full = bool(rng.random() < 0.13)
    views = int(rng.choice([30, 32, 60, 64, 120], p=[0.08, 0.12, 0.32, 0.40, 0.08]))
    fine = bool(rng.random() < 0.12)
    if fine:
        pixel = float(rng.uniform(3.0, 4.8))
    else:
        # 9.6 or 8.8 mm over a zoom of 1.3 to 1.46 are 6.6 and 6.8, some zoom more, or not at all and then half.
        pixel = float(rng.choice([6.8, 6.6, 6.4, 6.0])) if rng.random() < 0.65 else float(rng.uniform(4.7, 7.5))
    matrix = 128 if fine else 64
    axial = float(rng.uniform(190, 230)) if fine or rng.random() < 0.3 else None
    return Camera(
        collimator="LEGP" if rng.random() < 0.2 else "LEHR",
        matrix=matrix,
        pixel_mm=pixel,
        views=max(views, 60) if full else views,
        arc=360.0 if full else 180.0,
        mirrored=False,
        radius_mm=None,
        clearance_mm=float(rng.uniform(8, 40)),
        contour=bool(rng.random() < 0.4),
        heart_centred=bool(matrix * pixel < 360 and rng.random() < 0.6),
        # Windows of 15 to 20 % on crystals of 9 to 10 %: chosen.
        scatter_share=float(rng.uniform(0.8, 1.1)),
        axial_mm=axial,
        body_mm=None,
    )


def _cardiac(rng: np.random.Generator) -> Camera:
    """Like a dedicated cardiac camera: close, sharp, a small field about the heart, less scatter for its sharper energy
    resolution (5-6 % against 9-10 %: Imbert 2012, Bocher et al., Eur J Nucl Med Mol Imaging 2010;37:1887; how much
    less is chosen).
    """
    return Camera(
        collimator="CZT",
        matrix=64,
        pixel_mm=float(rng.uniform(4.0, 5.4)),
        views=int(rng.choice([60, 64, 120], p=[0.4, 0.3, 0.3])),
        radius_mm=None,
        clearance_mm=float(rng.uniform(5, 30)),
        contour=bool(rng.random() < 0.5),
        heart_centred=True,
        scatter_share=float(rng.uniform(0.5, 0.85)),
        axial_mm=float(rng.uniform(190, 230)),
        body_mm=None,
    )


def _reconstructions(rng: np.random.Generator, camera: Camera) -> tuple[Reconstruction, Reconstruction]:
    """NC and AC: of one mould in most departments, apart from the corrections. NC by FBP is beside AC by OSEM."""
    sharp = camera.collimator == "CZT"
    ac = _osem(rng, camera, 0.7 if sharp else 0.3)
    scatter = str(rng.choice(["none", "estimate", "dew", "exact"], p=[0.2, 0.35, 0.3, 0.15]))
    if not sharp and rng.random() < 0.32:
        nc = Reconstruction("FBP", filter=_filter(rng))
    else:
        nc = ac if rng.random() < 0.85 else _osem(rng, camera, 0.3)
    corrected = rng.random() < 0.15 and scatter != "none"
    return replace(nc, scatter=scatter if corrected else "none"), replace(ac, scatter=scatter)


def _osem(rng: np.random.Generator, camera: Camera, recovered: float) -> Reconstruction:
    """2 x 10 to 12 x 8: 16 to 96 updates, few more often than many."""
    subsets = int(rng.choice([s for s in (4, 5, 6, 8, 10, 12) if camera.views % s == 0]))
    updates = math.exp(rng.uniform(math.log(16), math.log(96)))
    iterations = int(np.clip(round(updates / subsets), 2, 12))
    return Reconstruction("OSEM", iterations, subsets, bool(rng.random() < recovered), filter=_filter(rng))


def _filter(rng: np.random.Generator) -> Filter:
    """Clinical ranges, between the smoothest and the sharpest that is read: chosen wide."""
    kind = str(rng.choice(["butterworth", "gaussian", "hann"], p=[0.6, 0.22, 0.18]))
    if kind == "gaussian":
        return Filter(kind, fwhm_mm=float(rng.uniform(7, 14)))
    if kind == "hann":
        return Filter(kind, cutoff=float(rng.uniform(0.5, 1.0)))
    return Filter(kind, cutoff=float(rng.uniform(0.25, 0.55)), power=float(rng.choice([5, 10, 12, 20])))


def _field(rng: np.random.Generator) -> Field:
    outside = str(rng.choice(["kept", "zeroed", "cropped"], p=[0.6, 0.2, 0.2]))
    if outside == "kept":
        return Field()
    return Field(outside, float(rng.uniform(75, 120)), bool(outside == "zeroed" and rng.random() < 0.5))
