"""The results table: one dictionary that holds every number, written as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from spectac_fast._version import __version__
from spectac_fast.cohort.pairs import pairs_sha256
from spectac_fast.evaluate import bootstrap, provenance
from spectac_fast.evaluate.bootstrap import Estimate
from spectac_fast.evaluate.own import segments as own
from spectac_fast.evaluate.regional import scores as regional
from spectac_fast.evaluate.regional.known import key_of
from spectac_fast.evaluate.regional.normals import NormalLimits, limits_of_table
from spectac_fast.evaluate.table import floor, paired, published, trained
from spectac_fast.evaluate.table.convention import convention
from spectac_fast.evaluate.table.metrics import PatientScores
from spectac_fast.evaluate.table.render import markdown
from spectac_fast.evaluate.table.repeats import Repeated, merged
from spectac_fast.evaluate.table.score import CohortScores
from spectac_fast.evaluate.table.variants import COMBINED
from spectac_fast.outputs import appearing
from spectac_fast.terms import IDEAL, PHASES

REGIONS = ("whole", "heart")
POOLED = ("ssim", "psnr", "rmse")
# What stands in the columns SSIM, PSNR and RMSE. "paper" is a guess at an evaluation that is not public: means over
# slices are the one simple reading under which the published PSNR may exceed that of the published RMSE.
PROFILES = {
    "strict": {"ssim": "ssim", "psnr": "psnr", "rmse": "rmse"},
    "paper": {"ssim": "ssim", "psnr": "slice_psnr", "rmse": "slice_rmse"},
}
_OfSegments = Callable[[Any], dict[str, Any] | None]
PER_SLICE = ("slice_psnr", "slice_rmse", "psnr_gap")


def _column(patients: Sequence[PatientScores], region: str, name: str) -> np.ndarray:
    return np.array([getattr(getattr(p, region), name) for p in patients])


def _plain(value: Any) -> Any:
    """An estimate, or what holds estimates, for JSON, which has no NaN."""
    if isinstance(value, Estimate):
        return {k: v if math.isfinite(v) else None for k, v in asdict(value).items()}
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def _better_and_separated(row: dict[str, Estimate], other: dict[str, Estimate]) -> bool:
    """SSIM and PSNR above, RMSE below, and no interval touches the other row's."""
    return (
        row["ssim"].low > other["ssim"].high
        and row["psnr"].low > other["psnr"].high
        and row["rmse"].high < other["rmse"].low
    )


def _shown(result: Repeated, region: str, profile: str) -> dict[str, np.ndarray]:
    """The columns of a metric profile, each float64 [patients]."""
    return {name: _column(result.patients, region, score) for name, score in PROFILES[profile].items()}


def _region(
    result: Repeated, region: str, rows: Sequence[Repeated], indices: np.ndarray, profile: str
) -> dict[str, Any]:
    def pooled(of: Repeated) -> dict[str, Estimate]:
        return {name: bootstrap.mean(values, indices) for name, values in _shown(of, region, profile).items()}

    baselines = [r for r in rows if r.row.is_baseline]
    own = pooled(result)
    entry: dict[str, Any] = {name: _plain(value) for name, value in own.items()}
    for name in PER_SLICE:
        entry[name] = _plain(bootstrap.mean(_column(result.patients, region, name), indices))
    linear = next((r for r in baselines if r.row.translator.name == "linear"), None)
    if linear is not None:
        rmse, of_linear = (_shown(of, region, profile)["rmse"] for of in (result, linear))
        entry["rmse_over_linear"] = _plain(bootstrap.ratio(rmse, of_linear, indices))
    if baselines and not result.row.is_baseline:
        entry["separated_from_baselines"] = all(_better_and_separated(own, pooled(b)) for b in baselines)
    if len(result.trainings) > 1:
        entry["trainings"] = {name: result.spread(region, score) for name, score in PROFILES[profile].items()}
    return entry


def _compare(
    entries: Sequence[dict[str, Any]], rows: Sequence[Repeated], region: str, indices: np.ndarray, profile: str
) -> None:
    """Add the paired tests of a region: against the best baseline, and against the best of the networks' rows."""
    shown = [_shown(row, region, profile) for row in rows]
    tested = [i for i, row in enumerate(rows) if not row.row.is_baseline and row.row.given == "NC"]
    baselines = [i for i, row in enumerate(rows) if row.row.is_baseline]
    for key, named, candidates in (
        ("against_best_baseline", "baseline", baselines),
        ("against_best_row", "row", tested if len(tested) > 1 else []),
    ):
        if not candidates:
            continue
        best = min(candidates, key=lambda i: shown[i]["rmse"].mean())
        others = [i for i in tested if i != best]
        results = paired.against(shown[best], [shown[i] for i in others], indices)
        for i, result in zip(others, results, strict=True):
            entries[i][region][key] = {named: rows[best].row.label} | {
                name: _plain(difference) | {"p": p if math.isfinite(p) else None}
                for name, (difference, p) in result.items()
            }


def _patient(case: Mapping[str, Any], scores: Any) -> dict[str, Any]:
    return {"seed" if "seed" in case else "sha256": key_of(case)} | {
        region: asdict(getattr(scores, region)) for region in REGIONS
    }


def _regional(segments: Any, ref: regional.Reference | None) -> dict[str, Any] | None:
    """Of segments [case, phase, 17]; None where hearts are not known."""
    if ref is None:
        return None
    scores = regional.score(np.asarray(segments), ref)
    return {name: _plain(getattr(scores, name)) for name in scores.__dataclass_fields__}


class _Floors:
    """What rows are set against: NC at its best scale, by AC and, where the cohort has it, by IDEAL."""

    def __init__(self, scores: CohortScores, cases: Sequence[Mapping[str, Any]], indices: np.ndarray) -> None:
        self.scores, self.cases, self.indices = scores, cases, indices

    def errors(self, kind: str, patients: Sequence[PatientScores], segments: Any) -> dict[str, Any]:
        """Of a row, see `floor.errors`; segments: [case, phase, 17] or None. "segments": their mean absolute difference
        to those of IDEAL, where that is what the row is set against.
        """
        acquired = self.scores.ac_to_ideal if kind == IDEAL else ()
        found = floor.errors(patients, self.scores.floor[kind], acquired, self.cases, self.indices)
        known = self.scores.segments
        if kind == IDEAL and known is not None:
            away = np.abs(np.asarray(segments) - known[IDEAL]).mean(axis=(1, 2))
            found["segments"] = bootstrap.mean(away, self.indices)
        return _plain(found)

    def of_row(self, result: Repeated) -> dict[str, Any]:
        """{reference: errors} of a row."""
        patients = {"AC": result.patients, IDEAL: result.ideal}
        return {kind: self.errors(kind, patients[kind], result.trainings[0].segments) for kind in self.scores.floor}

    def of_nc(self, profile: str) -> dict[str, Any]:
        """{reference: the pooled metrics of NC at its best scale in both regions, and its errors}."""
        segments = (self.scores.segments or {}).get("NC")
        return {
            kind: {
                region: {
                    name: _plain(bootstrap.mean(_column(patients, region, score), self.indices))
                    for name, score in PROFILES[profile].items()
                }
                for region in REGIONS
            }
            | {"errors": self.errors(kind, patients, segments)}
            for kind, patients in self.scores.floor.items()
        }

    def of_ac(self) -> dict[str, Any] | None:
        """Errors of AC as acquired to IDEAL; None where there is none."""
        if not self.scores.ac_to_ideal:
            return None
        return self.errors(IDEAL, self.scores.ac_to_ideal, (self.scores.segments or {}).get("AC"))


def _of_segments(scores: CohortScores, ref: regional.Reference | None, seed: int, resamples: int) -> _OfSegments:
    """What is said of segments [case, phase, 17]: None where hearts are not known, little where nobody knows truth."""
    known = scores.segments
    if known is not None and ref is None:
        return lambda found: _plain(own.against_ac(np.asarray(found), known["NC"], known["AC"], seed, resamples))
    return lambda found: _regional(found, ref)


def build(
    scores: CohortScores,
    cases: Sequence[Mapping[str, Any]],
    *,
    seed: int,
    limits: NormalLimits | None = None,
    resamples: int = bootstrap.RESAMPLES,
    profile: str = "strict",
) -> dict[str, Any]:
    """Every number of the table, with its convention in ``head``.

    scores: of ``score_cohort``; cases: the cohort's records of the same patients; seed: of sampling and bootstrap;
    limits: normal limits, None to take them from the normal patients of this table. profile: of ``PROFILES``.
    Estimates are {"value", "low", "high"}; the limits are None where fewer than two patients leave no interval.
    """
    indices = bootstrap.resample(len(cases), seed, resamples)
    ref = None
    if scores.segments is not None and "truth" in scores.segments:
        limits = limits or limits_of_table(cases, scores.segments["AC"])
        nc, ac, truth = (scores.segments[kind] for kind in ("NC", "AC", "truth"))
        ref = regional.reference(cases, PHASES, nc, ac, truth, indices, limits)
    patients = scores.rows[0].patients
    # The rows that are no networks need no device; a table of them alone was made on the CPU.
    device = scores.rows[-1].row.translator.device
    merged_rows = merged(scores.rows)
    floors = _Floors(scores, cases, indices)
    of_segments = _of_segments(scores, ref, seed, resamples)
    rows = []
    for result in merged_rows:
        entry: dict[str, Any] = {
            "label": result.row.label,
            "name": result.row.name,
            "model": result.row.translator.name,
            "weights_sha256": result.row.translator.weights_sha256,
            "options": dict(result.row.options),
            "planes_combined": result.row.together == COMBINED,
            "baseline": result.row.is_baseline,
        }
        entry |= {region: _region(result, region, merged_rows, indices, profile) for region in REGIONS}
        entry["floor"] = floors.of_row(result)
        entry["segments"] = of_segments(result.trainings[0].segments)
        entry["seconds_per_slice"] = result.seconds_per_slice
        entry["capped_slices"] = sum(p.capped_slices for p in result.patients)
        entry["patients"] = [_patient(case, p) for case, p in zip(cases, result.patients, strict=True)]
        entry["card"] = result.row.translator.card
        rows.append(entry)
    for region in REGIONS:
        _compare(rows, merged_rows, region, indices, profile)
    head = {
        "metric_profile": profile,
        "convention": convention(scores, limits, profile),
        "patients": len(cases),
        "normal_patients": ref and int(ref.normal.sum()),
        "case_seeds": [case["seed"] for case in cases] if ref else None,
        "pairs_sha256": pairs_sha256(cases),
        "seen_in_training": {r.row.name or r.row.label: r.seen for r in scores.rows if r.seen},
        "stacks": scores.stacks,
        "shape": list(scores.shape),
        "spacing_mm": list(scores.spacing_mm),
        "grids": [[rows, columns, list(mm), many] for (rows, columns, mm), many in scores.grids.most_common()],
        "refused": scores.refused,
        "slices": sum(p.slices for p in patients),
        "empty_slices": sum(p.empty_slices for p in patients),
        "gain": scores.gain,
        "patients_gain": scores.patients_gain,
        "seed": seed,
        "resamples": resamples,
        "commit": provenance.commit(),
        "version": __version__,
        "device": str(device),
        "machine": provenance.machine(device),
    }
    images = (scores.segments or {}).items()
    return {
        "format": 1,
        "head": head,
        "rows": rows,
        "floor": floors.of_nc(profile),
        "ac_to_ideal": floors.of_ac(),
        "reference_segments": {name: of_segments(values) for name, values in images} or None,
        "models": trained.models(merged_rows),
        "published": published.beside(rows),
    }


def as_csv(table: Mapping[str, Any]) -> str:
    """One line per row, region and metric: value and limits at full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["row", "region", "metric", "value", "low", "high"])
    for row in table["rows"]:
        for region in REGIONS:
            for name in (*POOLED, "rmse_over_linear", *PER_SLICE):
                cell = row[region].get(name)
                if cell is not None:
                    writer.writerow([row["label"], region, name, *(cell[k] for k in ("value", "low", "high"))])
        for name, cell in (row["segments"] or {}).items():
            values = [cell[k] for k in ("value", "low", "high")] if isinstance(cell, dict) else [cell, None, None]
            writer.writerow([row["label"], "segments", name, *values])
        writer.writerow([row["label"], "", "seconds_per_slice", row["seconds_per_slice"], None, None])
    for label, of_kind in floor.rows(table):
        for kind, cells in of_kind.items():
            for name, cell in cells.items():
                if isinstance(cell, dict) and "value" in cell:
                    values = [cell[k] for k in ("value", "low", "high")]
                    writer.writerow([label, f"heart, to {kind}", name, *values])
            writer.writerow([label, f"heart, to {kind}", "worse", cells["worse"], None, None])
    return out.getvalue()


def write(table: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write table.md, table.csv and table.json, each by atomic rename; the folder must exist."""
    texts = {
        "table.md": markdown(table),
        "table.csv": as_csv(table),
        "table.json": json.dumps(table, indent=1, allow_nan=False) + "\n",
    }
    paths = []
    for name, text in texts.items():
        path = folder / name
        with appearing(path) as part:
            part.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
