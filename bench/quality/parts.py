"""The measurements of `python -m bench quality`; each gives plain numbers, which are kept until they change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.outputs import appearing
from bench.quality.measures import disagreement, radial_power, roughness, texture
from bench.quality.slices import Slices, draw, whole_stack
from spectac_fast.cohort.cohort import Cohort
from spectac_fast.data.scale import heart_mask
from spectac_fast.diffusion.solvers import StepTable
from spectac_fast.models.translators.bridge import BridgeTranslator
from spectac_fast.ops import slice_metrics
from spectac_fast.terms import PLANES


class Store:
    """Finished parts as JSON files of a folder, each by a digest of everything it is a function of.

    common: of all keys. closed: nothing is added.
    """

    def __init__(self, folder: Path, common: Mapping[str, Any], closed: bool = False) -> None:
        self.folder, self.common, self.closed = folder, dict(common), closed
        folder.mkdir(parents=True, exist_ok=True)

    def part(self, key: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
        """What compute returns, as it comes back from JSON; computed once for a key. None where that is not allowed."""
        text = json.dumps({**self.common, **key}, sort_keys=True)
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.json"
        if not path.is_file():
            if self.closed:
                return None
            with appearing(path) as part:
                part.write_text(json.dumps(compute(), allow_nan=False))
        return json.loads(path.read_text())


def content(table: StepTable) -> dict[str, Any]:
    """All that decides what a table gives: solvers that agree for a number of evaluations are measured once."""
    # Solvers write the same number in different ways; the state is float32.
    rows = np.round(table.rows, 12) + 0.0
    # Of the last row only the prediction counts.
    rows[-1, 3:] = 0.0
    corrector = table.corrector[:-1]
    return {"t": table.t, "rows": rows.tolist(), "corrector": corrector, "boots": table.boots, "clip": table.clip}


def quality(slices: Slices, samples: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Numbers of each patient from samples [K, B, H, W]; of two or more also those of their mean, and their spread."""
    ac = slices.ac[:, 0].double().numpy()
    found = samples.astype(np.float64)
    mean = found.mean(axis=0)
    ssim = np.stack([_ssim(sample, ac) for sample in found])
    ssim_of_mean = _ssim(mean, ac)
    power, reference = radial_power(found + 1.0).mean(axis=0), radial_power(ac + 1.0)
    patients = []
    for patient in np.unique(slices.patient):
        own = slices.patient == patient
        heart = slices.heart[own]
        error = (found[:, own] - ac[own]) ** 2
        distance, bias = texture(power[own].mean(axis=0), reference[own].mean(axis=0))
        numbers = {
            "rmse": error.mean() ** 0.5,
            "rmse_heart": error[:, heart].mean() ** 0.5,
            "ssim": ssim[:, own].mean(),
            "texture": distance,
            "texture_bias": bias,
        }
        if len(found) > 1:
            numbers["rmse_of_mean"] = ((mean[own] - ac[own]) ** 2).mean() ** 0.5
            numbers["ssim_of_mean"] = ssim_of_mean[own].mean()
            numbers["spread"] = found[:, own].var(axis=0, ddof=1)[heart].mean() ** 0.5
        patients.append({name: float(value) for name, value in numbers.items()})
    return patients


def _ssim(prediction: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    return slice_metrics(torch.from_numpy(prediction), torch.from_numpy(reference), data_range=2.0)[:, 0].numpy()


def error_curve(translator: BridgeTranslator, slices: Slices, nodes: list[int]) -> list[dict[str, float]]:
    """Error of the network's prediction of AC along the bridge, from states of the forward process at each timestep."""
    bridge = translator.model.bridge
    return [
        {"t": t, "m": float(bridge.m[t]), "sigma": float(bridge.sigma[t]), "rmse": float(errors.mean() ** 0.5)}
        for t, errors in zip(nodes, squared_errors(translator, slices, nodes))
    ]


def squared_errors(translator: BridgeTranslator, slices: Slices, nodes: Sequence[int | None]) -> NDArray[np.float64]:
    """Mean squared error of the network's prediction of AC for each slice at each node, [nodes, B].

    From states of the forward process; at None from the state that samplers start from, x = y at T-1.
    """
    model, rows = translator.model, []
    bridge = model.bridge
    images, seeds = translator.inputs(slices.nc, slices.seeds, slices.beside)
    target = translator.fit.to_network(slices.ac.to(images.device))
    with torch.no_grad():
        end, context = model.start(images)
        for node in nodes:
            t = torch.full((len(end),), bridge.num_timesteps - 1 if node is None else node, device=end.device)
            x = end if node is None else bridge.noised(target, end, t, seeds=seeds)[0]
            found = bridge.x0_from(translator.engine(x, t, context), x, end, t)
            rows.append((found - target).double().square().mean(dim=(1, 2, 3)).cpu().numpy())
    return np.stack(rows)


def stacks(
    cohort: Cohort, translator: BridgeTranslator, case: int, tables: Mapping[str, StepTable]
) -> dict[str, dict[str, float]]:
    """Roughness between slices and disagreement of planes of one patient: AC, one evaluation, and samples.

    tables: "one" and "sample". Of the samples there are two: every slice with noise of its own, and all of a stack with
    the same.
    """
    planes: dict[str, dict[str, NDArray[np.float64]]] = {}
    for plane in PLANES:
        slices = whole_stack(cohort, translator, case, plane)
        shared = slices.seeds[:1].expand(len(slices)).contiguous()
        found = {
            "AC": slices.ac[:, 0].numpy(),
            "one evaluation": draw(translator, slices, tables["one"], 1)[0],
            "noise of each slice": draw(translator, slices, tables["sample"], 1)[0],
            "noise of the series": draw(translator, slices, tables["sample"], 1, shared)[0],
        }
        for name, stack in found.items():
            planes.setdefault(name, {})[plane] = stack.astype(np.float64)
    reference = planes["AC"]
    heart = heart_mask(reference["SA"].shape, cohort.spacing_mm)
    return {
        name: {
            "roughness": float(np.mean([roughness(stack, heart) for stack in own.values()])),
            "disagreement": disagreement(own, cohort.spacing_mm),
            "rmse": float(np.mean([(own[p] - reference[p]) ** 2 for p in PLANES]) ** 0.5),
        }
        for name, own in planes.items()
    }
