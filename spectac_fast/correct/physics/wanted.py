"""What is to be made of projections, and the words for it on a command line."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spectac_fast.errors import InputError, UsageError
from spectac_fast.reconstruct.camera import Collimator
from spectac_fast.reconstruct.settings import Filter, Reconstruction, subsets_of, usual

# Ways to correct attenuation by name; anything else is the path of a map.
WAYS = ("none", "chang", "mu", "predicted")
STACKS = ("SA", "VLA", "HLA", "TRA")
SCATTER = ("auto", "none", "window", "estimate")
# Of customary low-energy collimators: hole, length and intrinsic resolution, mm.
COLLIMATORS = {"LEHR": Collimator(), "LEGP": Collimator(hole=2.2), "LEAP": Collimator(hole=2.2)}


@dataclass(frozen=True)
class Wanted:
    """ac: "none", "chang", "mu" (the attenuation map of its study or frame of reference among the inputs), "predicted"
    (a map that a network makes of NC), or the path of an attenuation map (a CT series' folder, an NM object).
    maps: weight file of that network, None = the shipped one. planes: of `STACKS`.

    method: "OSEM" or "FBP". iterations, subsets: None = 32 updates in all, as the models were trained with, in a
    number of subsets that divides the views. scatter: "auto" corrects AC by the file's scatter windows or
    else by an effective source, NC never; "window" corrects both and demands such a window; "estimate" and "none" are
    of AC. collimator: modelled in OSEM, None = not. axis: azimuth and elevation of the long axis, degrees, and a point
    on it, mm; None = it is sought.

    uncertainty: where given, also the standard deviation of every AC count, from OSEM of as many samples (at least 2):
    of photons, and of the map where a network predicts it. bridge: weight file of the network that draws maps, None =
    the shipped one. seed: of what is drawn. They change nothing about the counts.

    views_by: "dudoss" or its weight file: views that nobody took are made between those that are too far apart.
    denoise: "cunet" or its weight file: counts are replaced by those to be expected. None = projections as acquired.
    """

    ac: str | Path = "none"
    planes: tuple[str, ...] = STACKS
    method: str = "OSEM"
    iterations: int | None = None
    subsets: int | None = None
    filter: Filter = field(default_factory=Filter)
    scatter: str = "auto"
    collimator: Collimator | None = None
    axis: tuple[float, ...] | None = None
    maps: str | Path | None = None
    uncertainty: int | None = None
    bridge: str | Path | None = None
    seed: int = 0
    views_by: str | Path | None = None
    denoise: str | Path | None = None

    def __post_init__(self) -> None:
        if not self.planes or set(self.planes) - set(STACKS):
            raise UsageError(f"planes: expected some of {', '.join(STACKS)}, found {', '.join(self.planes) or 'none'}.")
        if self.scatter not in SCATTER:
            raise UsageError(f"scatter: expected one of {', '.join(SCATTER)}, found {self.scatter}.")
        if self.method not in ("OSEM", "FBP"):
            raise UsageError(f"method: expected OSEM or FBP, found {self.method}.")
        if self.method == "FBP" and (self.by_map or self.collimator or self.iterations or self.subsets):
            raise UsageError(
                "filtered back-projection takes no map, collimator, iterations or subsets: these are of OSEM."
            )
        if self.maps is not None and self.ac != "predicted":
            raise UsageError(f"maps: expected ac to be predicted for weights of its maps, found {self.ac}.")
        if self.uncertainty is not None and not self.by_map:
            raise UsageError("uncertainty: expected AC by an attenuation map (ac) for a deviation, found none.")
        if self.uncertainty is not None and self.uncertainty < 2:
            raise UsageError(f"uncertainty: expected at least 2 samples, found {self.uncertainty}.")
        if self.bridge is not None and (self.ac != "predicted" or self.uncertainty is None):
            raise UsageError("bridge: expected ac to be predicted and uncertainty for weights that draw maps.")
        if self.uncertainty is not None and (self.views_by or self.denoise):
            raise UsageError("uncertainty: expected counts as acquired, without views_by or denoise, for a deviation.")
        if self.scatter == "estimate" and not self.by_map:
            raise UsageError("scatter: expected an attenuation map (ac) for an estimate, found none.")
        if self.axis is not None and (len(self.axis) != 5 or not all(map(math.isfinite, self.axis))):
            raise UsageError(f"axis: expected azimuth, elevation, x, y and z, found {len(self.axis)} numbers.")

    @property
    def map_path(self) -> Path | None:
        """Where the attenuation map is, None where there is none."""
        return None if str(self.ac) in WAYS else Path(self.ac)

    @property
    def by_map(self) -> bool:
        """Whether AC is by OSEM with an attenuation map."""
        return str(self.ac) not in ("none", "chang")

    def reconstruction(self, views: int, path: Path) -> Reconstruction:
        """The reconstruction of so many views; InputError where the subsets do not divide them."""
        if self.method == "FBP":
            return Reconstruction("FBP", 1, 1, False, filter=self.filter)
        if self.subsets is not None and views % self.subsets:
            raise InputError(
                f"{path}: expected subsets that divide its {views} views ({', '.join(map(str, subsets_of(views)))}), "
                f"found {self.subsets}."
            )
        how = usual(views, self.subsets)
        return replace(
            how,
            iterations=self.iterations or how.iterations,
            resolution_recovery=self.collimator is not None,
            filter=self.filter,
        )

    def settings(self) -> dict[str, Any]:
        """Everything that the counts depend on besides the projections and the map's content."""
        collimator = self.collimator and (self.collimator.hole, self.collimator.length, self.collimator.intrinsic)
        return {
            "ac": "map" if self.map_path else str(self.ac),
            "method": self.method,
            "iterations": self.iterations or "auto",
            "subsets": self.subsets or "auto",
            "filter": str(self.filter),
            "scatter": self.scatter,
            "collimator": ",".join(f"{each:g}" for each in collimator) if collimator else "none",
            "axis": ",".join(f"{each:g}" for each in self.axis) if self.axis else "auto",
        }

    def drawing(self) -> dict[str, str | int | float]:
        """What deviations depend on besides `settings` and the weights that draw maps."""
        return {} if self.uncertainty is None else {"deviation of samples": self.uncertainty, "seed": self.seed}


def filter_of(text: str) -> Filter:
    """butterworth[:CUTOFF[:ORDER]], hann[:CUTOFF], gaussian:FWHM or none; ValueError for anything else."""
    kind, *numbers = text.lower().split(":")
    values = [float(each) for each in numbers]
    if not all(0 < value < 1000 for value in values):
        raise ValueError(text)
    if kind == "none" and not values:
        return Filter("none")
    if kind == "gaussian" and len(values) == 1:
        return Filter("gaussian", fwhm_mm=values[0])
    if kind == "hann" and len(values) <= 1:
        return Filter("hann", cutoff=values[0] if values else 0.7)
    if kind == "butterworth" and len(values) <= 2:
        made = Filter(cutoff=values[0]) if values else Filter()
        return replace(made, power=2 * values[1]) if len(values) == 2 else made
    raise ValueError(text)


def collimator_of(text: str) -> Collimator | None:
    """none, a name of `COLLIMATORS`, or HOLE,LENGTH,INTRINSIC in mm; ValueError for anything else."""
    if text.lower() == "none":
        return None
    if text.upper() in COLLIMATORS:
        return COLLIMATORS[text.upper()]
    hole, length, intrinsic = map(float, text.split(","))
    if not (0 < hole < 10 and 5 < length < 200 and 0 < intrinsic < 20):
        raise ValueError(text)
    return Collimator(hole, length, intrinsic)
