"""How a study is made: camera, counts, reconstruction and what is kept of the field. The defaults are the first
cohort's, named `hanoi`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from spectac_fast.reconstruct.settings import Reconstruction


@dataclass(frozen=True)
class Camera:
    """Detector and orbit. matrix, pixel_mm: of the projections and of every reconstructed slice. arc: degrees from RAO
    45 over the front; mirrored: from LAO 45 instead. radius_mm: of a circular orbit, or None: the detector keeps
    clearance_mm from the body, on the smallest circle or along the contour. heart_centred: the axis of rotation lies
    near the heart, not in the middle of the table. scatter_share: scatter in the window over that of a 20 % window.
    axial_mm: what is reconstructed along the table about the heart, None = all. body_mm: width and depth of the body
    that there is, about the axis of rotation; None = all of it.
    """

    collimator: str = "LEHR"
    matrix: int = 64
    pixel_mm: float = 6.8
    views: int = 64
    arc: float = 180.0
    mirrored: bool = False
    radius_mm: float | None = 245.0
    clearance_mm: float = 0.0
    contour: bool = False
    heart_centred: bool = False
    scatter_share: float = 1.0
    axial_mm: float | None = None
    body_mm: float | None = 435.2


@dataclass(frozen=True)
class Field:
    """What a department keeps of a stack: all, or what lies within half_mm of its centre, in a box or (round) a ball;
    outside is "kept", "zeroed", or "cropped" off the matrix, in-plane and along the slices.
    """

    outside: str = "kept"
    half_mm: float = 0.0
    round: bool = False


@dataclass(frozen=True)
class Protocol:
    """What a study is made with. counts: over those of the first cohort. position: "supine" or "prone".

    attenuation, scatter, noise: whether the data have them; exact_map: AC's map is that of the emission instead of a
    misregistered CT's. All serve to find out which effect causes what. acquisition: another number counts other photons
    of the same patient.
    """

    name: str = "hanoi"
    camera: Camera = field(default_factory=Camera)
    nc: Reconstruction = field(default_factory=Reconstruction)
    ac: Reconstruction = field(default_factory=lambda: Reconstruction(scatter="estimate"))
    field: Field = field(default_factory=Field)
    counts: float = 1.0
    position: str = "supine"
    attenuation: bool = True
    scatter: bool = True
    noise: bool = True
    exact_map: bool = False
    acquisition: int = 0

    @property
    def stored_per_count(self) -> float:
        """What a count is multiplied by before it is stored as a whole number, so that a heart is some hundreds in
        every protocol: counts per voxel fall with the voxel and with the time at hand.
        """
        return (6.8 / self.camera.pixel_mm) ** 3 / self.counts

    def to_json(self) -> dict[str, Any]:
        """Every setting, for a cohort's index."""
        return asdict(self)


HANOI = Protocol()
RANDOM = "random"

# Names alone, for a command line that imports nothing heavy; `protocols` and `conditions` say what each is.
CONDITION_NAMES = (
    "dilated",
    "hypertrophic",
    "lbbb",
    "pacemaker",
    "implant",
    "mastectomy",
    "effusion",
    "high-diaphragm",
    "hernia",
    "bowel",
    "arms-down",
    "dextrocardia",
)
FAMILY_NAMES = (
    "fbp",
    "rr",
    "gaussian",
    "hann",
    "no-scatter-correction",
    "dew",
    "arc360",
    "views30",
    "views120",
    "legp",
    "czt",
    "matrix128",
    "box",
    "cropped",
    "counts-quarter",
    "prone",
)
NAMES = (
    HANOI.name,
    *("fbp", "fbp-hann", "osem-2x10", "osem-12x8", "rr", "butterworth-30", "gaussian-12", "hann-70"),
    *("no-scatter-correction", "dew", "exact-scatter", "exact-map"),
    *("arc360", "views30", "views120", "legp", "czt", "matrix128", "pixels-5", "contour"),
    *("counts-quarter", "counts-half", "counts-double", "box", "ball", "cropped"),
    *("no-attenuation", "prone", "inferior-defect", "bmi40", *CONDITION_NAMES, "western", "asian"),
    RANDOM,
)
# What a random protocol or patient can be without.
LEFT_OUT = (*FAMILY_NAMES, *CONDITION_NAMES)
