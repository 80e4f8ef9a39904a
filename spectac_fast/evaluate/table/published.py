"""Table 1 of Nguyen Thanh Trung, J. Mil. Sci. Technol. 106 (2025) 55-62, doi 10.54939/1859-1043.j.mst.106.2025.55-62.

NC to AC on the SPECT of a hospital, by an evaluation that has not been published. Its PSNR cannot follow from its RMSE
by any one data range, so its rows are set beside ours by rank and by gap to BBDM, in SSIM and RMSE, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# SSIM, PSNR in dB, RMSE
TABLE_1 = {
    "pix2pix": (0.8170, 29.69, 0.1450),
    "reggan": (0.8242, 25.64, 0.1278),
    "unit": (0.8100, 33.17, 0.1300),
    "cpdm": (0.8407, 27.60, 0.1285),
    "bbdm": (0.8529, 28.33, 0.1177),
}


def beside(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The published rows beside those of a table (``table.build``) that are called as they are; [] if fewer than two.

    A model that samples is taken by its single sample, which is what the published code gives. Ranks are among the
    methods that both tables have, 1 the best; a gap is the value less BBDM's, None where the table has no bbdm.
    """
    ours: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        single = row["options"].get("samples", 1) == 1 and not row["planes_combined"]
        # Of a bridge's rows the last is the single sample of several steps.
        if row["name"] == row["model"] and row["model"] in TABLE_1 and single:
            ours[row["model"]] = row
    shared = [name for name in TABLE_1 if name in ours]
    if len(shared) < 2:
        return []
    found = {name: tuple(ours[name]["whole"][m]["value"] for m in ("ssim", "psnr", "rmse")) for name in shared}
    published = {name: TABLE_1[name] for name in shared}
    return [
        {"method": name, "our_row": ours[name]["label"]}
        | {f"published_{key}": value for key, value in _place(name, published).items()}
        | {f"our_{key}": value for key, value in _place(name, found).items()}
        for name in shared
    ]


def _place(name: str, values: Mapping[str, tuple[float, float, float]]) -> dict[str, Any]:
    """Values of one method, its ranks among all and its gaps to BBDM."""
    ssim, psnr, rmse = values[name]
    reference = values.get("bbdm")
    return {
        "ssim": ssim,
        "psnr": psnr,
        "rmse": rmse,
        "ssim_rank": 1 + sum(other[0] > ssim for other in values.values()),
        "rmse_rank": 1 + sum(other[2] < rmse for other in values.values()),
        "ssim_gap": None if reference is None else ssim - reference[0],
        "rmse_gap": None if reference is None else rmse - reference[2],
    }
