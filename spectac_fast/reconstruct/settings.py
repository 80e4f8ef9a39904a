"""How slices are made of projections, in words and numbers alone: a command line may import this for its help."""

from __future__ import annotations

from dataclasses import dataclass, field

# Subsets times iterations that the models' training had; at least so many views a subset.
_UPDATES, _SUBSETS, _FEWEST_VIEWS = 32, 8, 4


@dataclass(frozen=True)
class Filter:
    """A low-pass of the reconstructed volume. kind: "butterworth" (cutoff in 1/cm; power = twice the order), "hann"
    (cutoff, where it reaches 0), "gaussian" (fwhm_mm) or "none".
    """

    kind: str = "butterworth"
    cutoff: float = 0.40
    power: float = 10
    fwhm_mm: float = 0.0

    def __str__(self) -> str:
        if self.kind == "none":
            return "none"
        if self.kind == "gaussian":
            return f"Gaussian {self.fwhm_mm:.1f} mm"
        order = f" order {self.power / 2:g}" if self.kind == "butterworth" else ""
        return f"{self.kind.capitalize()} {self.cutoff:.2f}/cm{order}"


@dataclass(frozen=True)
class Reconstruction:
    """method: "OSEM" or "FBP" (iterations and subsets then mean nothing). resolution_recovery: the collimator is in the
    model. scatter: "none", "estimate" (its shape known, its amount wrong), "dew" (from a second energy window) or
    "exact".
    """

    method: str = "OSEM"
    iterations: int = 4
    subsets: int = 8
    resolution_recovery: bool = False
    scatter: str = "none"
    filter: Filter = field(default_factory=Filter)

    def __str__(self) -> str:
        algorithm = f"OSEM {self.iterations}i{self.subsets}s" if self.method == "OSEM" else self.method
        return algorithm + (" RR" if self.resolution_recovery else "")


def subsets_of(views: int) -> list[int]:
    """The numbers of subsets that so many views divide into, none of them of very few views."""
    return [k for k in range(1, views + 1) if views % k == 0 and views // k >= min(_FEWEST_VIEWS, views)]


def usual(views: int, subsets: int | None = None) -> Reconstruction:
    """OSEM of so many views unless somebody asks for another: 32 updates in all, as the models were trained with, in
    `subsets`, or in the number next to 8 that divides the views.
    """
    chosen = subsets or min(subsets_of(views), key=lambda k: abs(k - _SUBSETS))
    return Reconstruction("OSEM", max(round(_UPDATES / chosen), 1), chosen)
