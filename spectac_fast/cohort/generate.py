"""Cohorts: many patients, several processes, files that appear whole or not at all, runs that resume."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import numpy as np

from spectac_fast.cohort.cohort import FORMAT, STACK_SHAPE
from spectac_fast.errors import InputError, UsageError
from spectac_fast.processes import process_pool
from spectac_fast.terms import KINDS, PHASES, PLANES


def generate(folder: Path, seeds: range, *, form: str, jobs: int, device: str, acquisition: int = 0) -> Iterator[int]:
    """Make the cases of `seeds` under `folder`, yielding each seed as it is finished.

    form: "dicom" or "npy" (see `spectac_fast.cohort.cohort`); jobs: processes, one thread each, so the result does not
    depend on it; device: "cpu" or "cuda[:k]"; acquisition: which one of these patients. Cases already finished by an
    interrupted run of the same request are kept. Raises InputError if the folder cannot be written or holds another
    cohort.
    """
    index = _Index(folder, seeds, form, acquisition)
    yield from index.done
    todo = [(i, seed) for i, seed in enumerate(seeds) if seed not in index.done]
    if not todo:
        index.write()
        return
    store = _store_array if form == "npy" else _store_dicom
    with process_pool(min(jobs, len(todo))) as pool:
        futures = [pool.submit(_make, store, folder, i, seed, device, acquisition) for i, seed in todo]
        try:
            for future in as_completed(futures):
                record = future.result()
                index.add(record)
                yield record["seed"]
        finally:
            pool.shutdown(cancel_futures=True)


class _Index:
    """The list of finished cases; rewritten atomically after each, complete when its length is `requested`."""

    def __init__(self, folder: Path, seeds: range, form: str, acquisition: int) -> None:
        self.path = folder / ("index.json" if form == "npy" else "cohort.json")
        self.order = {seed: i for i, seed in enumerate(seeds)}
        self.partial = folder / ".unfinished.json"
        self.request = {"first_seed": seeds.start, "cases": len(seeds), "form": form}
        if acquisition:
            self.request["acquisition"] = acquisition
        self.records: dict[int, dict[str, Any]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._resume(folder, form)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror})") from None

    def _resume(self, folder: Path, form: str) -> None:
        for path in (self.path, self.partial):
            if path.is_file():
                found = json.loads(path.read_text())
                if found.get("request") != self.request:
                    raise UsageError(
                        f"{folder}: expected an empty folder or the cohort {self.request}, found {found.get('request')}"
                    )
                self.records = {record["seed"]: record for record in found["cases"]}
                return
        self._write(self.partial, [])
        if form == "npy":
            shape = (len(self.order), len(PHASES), len(PLANES), len(KINDS), *STACK_SHAPE)
            np.lib.format.open_memmap(folder / "cohort.npy", mode="w+", dtype=np.uint16, shape=shape).flush()

    @property
    def done(self) -> list[int]:
        return list(self.records)

    def add(self, record: dict[str, Any]) -> None:
        self.records[record["seed"]] = record
        self.write()

    def write(self) -> None:
        records = sorted(self.records.values(), key=lambda r: self.order[r["seed"]])
        if len(records) == len(self.order):
            self._write(self.path, records)
            self.partial.unlink(missing_ok=True)
        else:
            self._write(self.partial, records)

    def _write(self, path: Path, records: list[dict[str, Any]]) -> None:
        content = {
            "format": FORMAT,
            "request": self.request,
            "pixel_mm": 6.8,
            "slice_mm": 6.8,
            "phases": PHASES,
            "planes": PLANES,
            "kinds": KINDS,
            "cases": records,
        }
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps(content, indent=1))
        os.replace(temporary, path)


def _make(store: Any, folder: Path, position: int, seed: int, device: str, acquisition: int) -> dict[str, Any]:
    import torch

    from spectac_fast.phantom.people import draw
    from spectac_fast.phantom.simulate import Protocol, simulate

    torch.set_num_threads(1)
    case = simulate(draw(seed), Protocol(acquisition=acquisition), device)
    counts = np.clip(np.rint(case.stacks), 0, 65535).astype(np.uint16)
    store(folder, position, case, counts)
    patient = case.patient
    return {
        "seed": seed,
        "sex": patient.sex,
        "bmi": round(patient.bmi, 2),
        "edv_ml": round(patient.edv, 1),
        "defects": [dataclasses.asdict(defect) for defect in patient.defects],
        "lv": case.lv,
        "scatter_to_primary": round(case.scatter_to_primary, 4),
    }


def _store_array(folder: Path, position: int, case: Any, counts: np.ndarray) -> None:
    array = np.lib.format.open_memmap(folder / "cohort.npy", mode="r+")
    array[position] = counts
    array.flush()


def _store_dicom(folder: Path, position: int, case: Any, counts: np.ndarray) -> None:
    from spectac_fast.formats.dicom import write_series

    seed, acquisition = case.patient.seed, case.protocol.acquisition
    target, temporary = folder / f"case-{seed}", folder / f".case-{seed}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, temporary, ignore_errors=True)
        for i, phase in enumerate(PHASES):
            for j, plane in enumerate(PLANES):
                cut = case.cuts[plane]
                for k, kind in enumerate(KINDS[:2]):
                    write_series(
                        temporary / f"{phase}_{plane}_{kind}.dcm",
                        counts[i, j, k],
                        plane=plane,
                        phase=phase,
                        corrected=kind == "AC",
                        pixel_mm=6.8,
                        slice_mm=6.8,
                        orientation=(*cut.right, *cut.down),
                        position=tuple(cut.first_voxel(6.8)),
                        patient_id=f"SYN{seed:06d}",
                        sex=case.patient.sex,
                        study_key=f"phantom-{seed}" + (f"-{acquisition}" if acquisition else ""),
                    )
        np.savez_compressed(temporary / "truth.npz", truth=counts[:, :, 2])
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
