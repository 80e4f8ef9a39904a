"""What the numbers of a table are: the sentences of its head."""

from __future__ import annotations

import numpy as np

from spectac_fast.evaluate.regional.normals import NormalLimits
from spectac_fast.evaluate.table.metrics import PSNR_CAP_DB
from spectac_fast.evaluate.table.score import CohortScores

_PAPER = {
    "psnr": f"20 log10(2 / RMSE) of every slice, at most {PSNR_CAP_DB:.0f} dB, mean over a patient's slices, then over "
    "patients; best guess at the published table, not confirmed",
    "rmse": "of every slice, mean over a patient's slices, then over patients; best guess at the published table, not "
    "confirmed",
}
_ROWS = (
    "identity = NC times the gain; scale = NC times one fitted factor; linear = fitted slope and offset in model "
    "units; a model that samples has a row for one evaluation, one for the mean of samples, one for a single sample; "
    "{}a first stage the round trip of AC, the floor of models between its latents; "
    "trainings that differ in their seed are one row, averaged patient by patient{}"
)
_COMBINED = (
    "planes combined = the corrections (image minus NC times the gain) of SA, VLA and HLA averaged where they overlap, "
    "as `spectac correct` does with all but single samples; "
)
_SCALE = (
    "one count scale a phase, the 99.5th percentile of the NC short-axis stack{} within 60 mm of its centre; "
    "[0, scale] -> [-1, 1] for NC, [0, scale x gain] for AC and every corrected image; no clipping above 1"
)
_EVERY_TABLE = {
    "data_range": "2 (SSIM and PSNR)",
    "psnr": "20 log10(2 / RMSE) of each patient's pooled RMSE, then mean over patients",
    "per_slice": f"mean over a patient's slices, then over patients; a slice's PSNR is capped at {PSNR_CAP_DB:.0f} dB",
    "heart": "sphere of 60 mm about the centre of the stack",
    "interval": "95 % percentile bootstrap over patients, paired across rows",
    "p": "Wilcoxon signed-rank test over patients, two-sided, Holm-adjusted for the rows tested",
    "empty_slices": "slices without any AC count stay in pooled RMSE and PSNR, and are left out of SSIM and of the "
    "per-slice means",
}
_HEARTS_KNOWN = {
    "rows": _ROWS.format(_COMBINED, ", segments of the first of them"),
    "scale": _SCALE.format(""),
    "rmse": "pooled over all voxels of a patient (stress and rest; SA, VLA, HLA), then mean over patients",
    "segments": "17 segments, % of the polar map's 99th percentile; error = mean absolute difference to AC, or to the "
    "phantom's own activity (truth); low segment = a normal patient's segment below the normal limit, new where AC is "
    "not; defect contrast = 1 - defect / remote segments",
}
_PAIRS = {
    "rows": _ROWS.format("", ""),
    "scale": _SCALE.format(", or of the first plane there is,"),
    "rmse": "pooled over all voxels of a patient (every stack there is), then mean over patients",
    "left_out": "planes combined, because files do not say how the planes of a phase lie to each other; 17 segments, "
    "normal limits, defect contrast and truth, because nothing tells where the ventricle lies, who is normal and what "
    "was taken up",
}
_STUDIES = {
    "rows": _ROWS.format(_COMBINED, ", segments of the first of them"),
    "scale": _SCALE.format(", or of the first plane there is,"),
    "rmse": "pooled over all voxels of a patient (every pair there is), then mean over patients",
    "matching": "NC and AC of one study, phase, plane and acquisition by their headers, as the report lines series up; "
    "kinds judged by header, words and image; every pair on the voxels of its NC file, corrected as `spectac correct` "
    "does it",
    "segments": "17 segments, % of the polar map's 99th percentile, by the ventricle found on NC; error = mean "
    "absolute difference to AC, bias = mean difference, phases of a patient averaged",
    "left_out": "normal limits, defect contrast and truth, because nothing tells who is normal and what was taken up",
}


def convention(scores: CohortScores, limits: NormalLimits | None, profile: str) -> dict[str, str]:
    """The sentences, by what they are about. limits: None where there are too few normal patients."""
    rows, columns = scores.shape
    size = f"{rows} x {columns} " if len(scores.grids) == 1 else ""
    ssim = (
        f"Gaussian window 11 x 11, sigma 1.5, population covariance, windows inside the {size}slice, mean "
        "over slices; heart region: mean of the SSIM map over the region's voxels"
    )
    if scores.segments is None:
        own = _PAIRS
    elif "truth" in scores.segments:
        own = _HEARTS_KNOWN | {"normal_limit": _said(limits)}
    else:
        own = _STUDIES
    return _EVERY_TABLE | {"ssim": ssim, "bounded": _cut(scores)} | own | (_PAPER if profile == "paper" else {})


def _cut(scores: CohortScores) -> str:
    whole, heart = (np.mean([getattr(p, region).rmse for p in scores.cut]) for region in ("whole", "heart"))
    return (
        f"AC cut at [-1, 1], beyond which no network that ends in a tanh goes (the GANs), has an RMSE of {whole:.4f} "
        f"in the whole field, {heart:.4f} in the heart region"
    )


def _said(limits: NormalLimits | None) -> str:
    if limits is None:
        return "none: too few normal patients"
    return f"mean - 2 SD of AC, both phases, of the normal patients of a group: {limits.group}"
