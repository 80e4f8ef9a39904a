"""What makes a body or a heart unlike the ordinary one: what anatomy and heart draw beyond a patient's sizes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Findings:
    """The defaults are the ordinary body. Lengths in mm; pairs are (right, left) of the patient, or (stress, rest).

    names: what was drawn, in the words of a report, for a cohort's index.
    implants_ml: volume of breast implants, 0 = none; implant_mu: their attenuation, 1/cm. removed: mastectomy.
    generator: a pacemaker below the left collarbone. pleural: thickness of the layer of fluid at the back. pericardial:
    thickness of the fluid around the heart. hernia: radius of the part of the stomach behind the heart, with its uptake
    and whether it holds gas. bowel: radius of a loop below the inferior wall, bowel_gap from it, its uptake, and
    where it lies along the long axis and across it (bowel_at). arms_down: radius of an upper arm beside the chest, 0 =
    arms up. mirrored: dextrocardia with situs inversus. septal_wall: thickness of the septum over that of the free
    wall. septal_loss: share of uptake that the septum loses in left bundle branch block. sphericity: cavity radius over
    half its length.
    """

    names: tuple[str, ...] = ()
    implants_ml: tuple[float, float] = (0.0, 0.0)
    implant_mu: float = 0.147
    removed: tuple[bool, bool] = (False, False)
    generator: bool = False
    pleural: tuple[float, float] = (0.0, 0.0)
    pericardial: float = 0.0
    hernia: float = 0.0
    hernia_gas: bool = False
    hernia_uptake: float = 0.0
    bowel: float = 0.0
    bowel_gap: float = 0.0
    bowel_at: tuple[float, float] = (0.0, 0.0)
    bowel_uptake: tuple[float, float] = (0.0, 0.0)
    arms_down: float = 0.0
    mirrored: bool = False
    septal_wall: float = 1.0
    septal_loss: tuple[float, float] = (0.0, 0.0)
    sphericity: float = 0.5
