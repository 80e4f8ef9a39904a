"""Whether attributions point at what matters: deletion and insertion curves against random maps."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.outputs import write

if TYPE_CHECKING:
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.models.translator import Translator

RESULTS = Path(__file__).parents[1] / "results" / "explain"
SHARES = tuple(float(share) for share in np.linspace(0.0, 1.0, 21))
_BLUR_PX = 4.0
_RANDOM = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="validation cohort")
    parser.add_argument("-m", "--model", default="bbdm", help="model name or file (default: bbdm)")
    parser.add_argument("--patients", type=int, default=8, help="the first so many (default: 8)")
    parser.add_argument("-d", "--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.evaluate.bootstrap import mean, resample
    from spectac_fast.evaluate.provenance import commit
    from spectac_fast.models.registry import load

    model, cohort = load(args.model, args.device), Cohort(args.data)
    count = min(args.patients, len(cohort))
    found = [judge(model, cohort, i) for i in range(count)]
    indices = resample(count, 0)
    rows = {
        key: [round(value, 4) for value in (lambda e: (e.value, e.low, e.high))(mean([f[key] for f in found], indices))]
        for key in found[0]
    }
    content = {
        "model": model.name,
        "weights_sha256": model.weights_sha256,
        "patients": f"{count} of seeds {min(cohort.seeds)}-{max(cohort.seeds)}, middle SA slice, stress",
        "commit": commit(),
        "areas": rows,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "explain.json", json.dumps(content, indent=1) + "\n")
    write(args.out / "explain.md", page(content))
    print(page(content))
    return 0


def judge(model: Translator, cohort: Cohort, index: int) -> dict[str, float]:
    """Areas under the curves of one patient's slice, and the gap of its attributions over what they add up to."""
    from spectac_fast.data.geometry.neighbours import neighbours
    from spectac_fast.data.scale import to_model
    from spectac_fast.models.explain import explain_slice
    from spectac_fast.models.gradients import differentiable

    stack = to_model(cohort.pair(index, "stress", "SA")[0], cohort.scale(index, "stress"))
    middle = len(stack) // 2
    nc = torch.from_numpy(stack)[middle : middle + 1, None]
    beside = torch.from_numpy(neighbours(stack, cohort.spacing_mm[0], model.context_mm))[middle : middle + 1]
    images, function = torch.cat([nc, beside], dim=1), differentiable(model)
    region = _brightest(function(images).detach()[0, 0])
    got = explain_slice(model, nc, region, neighbours=beside)

    def value(given: Tensor) -> Tensor:
        with torch.no_grad():
            return function(given.to(model.device))[:, 0, region].mean(dim=1).cpu()

    ours = _areas(value, images, got.attribution[0])
    draws = torch.Generator().manual_seed(index)
    random = [_areas(value, images, torch.rand(nc.shape[-2:], generator=draws)) for _ in range(_RANDOM)]
    counts = _areas(value, images, nc[0, 0])
    return {
        "deletion, attribution": ours[0],
        "deletion, counts": counts[0],
        "deletion, random": float(np.mean([one[0] for one in random])),
        "insertion, attribution": ours[1],
        "insertion, counts": counts[1],
        "insertion, random": float(np.mean([one[1] for one in random])),
        "gap over sum": got.gap / abs(got.value - got.baseline),
    }


def _brightest(image: Tensor) -> Tensor:
    """The 40 brightest pixels within 8 pixels of a slice's centre: a piece of the wall."""
    height, width = image.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    near = ((y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2 <= 64).to(image.device)
    limit = image[near].sort(descending=True).values[39]
    return near & (image >= limit)


def _areas(value: Callable[[Tensor], Tensor], images: Tensor, importance: Tensor) -> tuple[float, float]:
    """(deletion, insertion): mean distance of the region's value from the slice's own, over all shares of pixels.

    Deletion blurs the most important pixels of the slice first, insertion sharpens them first in a blurred one; both
    over the distance of the slice that is wholly blurred. A map that points at what matters has a large first and a
    small second.
    """
    from scipy.ndimage import gaussian_filter

    blurred = images.clone()
    blurred[0, 0] = torch.from_numpy(gaussian_filter(images[0, 0].numpy(), _BLUR_PX))
    order = importance.abs().flatten().argsort(descending=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    taken = torch.stack([rank < round(share * len(order)) for share in SHARES]).view(-1, 1, *images.shape[-2:])
    own, end = value(images), value(blurred)
    width = float((end - own).abs()) or 1.0
    deleted, inserted = (
        value(torch.where(mask & _first(images), there, rest))
        for mask, there, rest in ((taken, blurred, images), (taken, images, blurred))
    )
    return tuple(float((curve - own).abs().mean()) / width for curve in (deleted, inserted))


def _first(images: Tensor) -> Tensor:
    """The slice itself, not its neighbours."""
    return (torch.arange(images.shape[1]) == 0).view(1, -1, 1, 1)


def page(content: dict[str, object]) -> str:
    """The areas as a table."""
    lines = [
        "# Do attributions point at what matters?",
        "",
        "Made by `python -m bench explain --data VALIDATION`. Explained: the mean of the 40 brightest corrected pixels",
        "near the centre of a short-axis slice. Pixels of the slice are blurred (deletion) or, in a blurred slice,",
        "sharpened (insertion), the most important first; the area is the mean distance of the value from that of the",
        "whole slice, over the distance of the wholly blurred one. A map that points at what matters has a large area",
        "of deletion and a small one of insertion. Mean over patients, 95 % bootstrap interval.",
        "",
        *(f"* {name}: {value}" for name, value in content.items() if name != "areas"),
        "",
        "| curve and map | area | low | high |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {name} | {' | '.join(f'{v:.4f}' for v in values)} |" for name, values in content["areas"].items()),
    ]
    return "\n".join(lines) + "\n"
