"""Of whom slices are and how they were made, as files may say it; without a reader of files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HeaderFacts:
    """Each None where it is not known, or what is said cannot be.

    male; bmi in kg/m2; prone: how the patient lay. arc: degrees that the detectors went around; cardiac: a camera for
    hearts alone, with solid-state detectors. fbp: NC by filtered back projection, by iterations otherwise;
    scatter_corrected: NC.
    """

    male: bool | None = None
    bmi: float | None = None
    prone: bool | None = None
    arc: float | None = None
    cardiac: bool | None = None
    fbp: bool | None = None
    scatter_corrected: bool | None = None
