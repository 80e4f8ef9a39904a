"""Cohorts: many patients, several processes, files that appear whole or not at all, runs that resume."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spectac_fast.cohort.cohort import FORMAT_HANOI, FORMAT_PROTOCOLS, STACK_SHAPE
from spectac_fast.cohort.map_cohort import FORMAT_MAPS, MAP_KINDS, MAP_SHAPE
from spectac_fast.errors import InputError, SetupError, UsageError
from spectac_fast.outputs import appearing, check_folder
from spectac_fast.phantom.protocol import HANOI
from spectac_fast.processes import process_pool
from spectac_fast.terms import IDEAL, KINDS, PHASES, PLANES

if TYPE_CHECKING:
    from spectac_fast.phantom.people import Patient
    from spectac_fast.phantom.protocol import Protocol
    from spectac_fast.phantom.simulate import Case


@dataclass(frozen=True)
class Wanted:
    """What every case of a cohort is. form: "dicom" or "npy" (see `spectac_fast.cohort.cohort`), or "maps" (see
    `spectac_fast.cohort.map_cohort`); protocol: of `phantom.protocol.NAMES`; without: what a random draw must not be,
    of `phantom.protocol.LEFT_OUT`; ideal: also the kind IDEAL (always, where the protocol is another than the first
    cohort's); acquisition: which one of these patients; device: "cpu" or "cuda[:k]"; projections: also what the slices
    are made of, as NM TOMO files.
    """

    form: str
    protocol: str = HANOI.name
    without: tuple[str, ...] = ()
    ideal: bool = False
    acquisition: int = 0
    device: str = "cpu"
    projections: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is stored of every study."""
        if self.form == "maps":
            return MAP_KINDS
        return KINDS if self.first else (*KINDS, IDEAL)

    @property
    def first(self) -> bool:
        """Whether this is the first cohort, whose files hold no protocol."""
        return self.protocol == HANOI.name and not self.ideal and self.form != "maps"

    @property
    def format(self) -> int:
        """The number of its files' form."""
        if self.form == "maps":
            return FORMAT_MAPS
        return FORMAT_HANOI if self.first else FORMAT_PROTOCOLS

    @property
    def array(self) -> tuple[tuple[int, ...], type] | None:
        """Shape and numbers of a case in the cohort's array; None where a case is a folder."""
        if self.form == "maps":
            return (len(MAP_KINDS), *MAP_SHAPE), np.float16
        return ((len(PHASES), len(PLANES), len(self.kinds), *STACK_SHAPE), np.uint16) if self.form == "npy" else None

    def request(self, seeds: range) -> dict[str, Any]:
        """What tells this cohort from another."""
        said: dict[str, Any] = {"first_seed": seeds.start, "cases": len(seeds), "form": self.form}
        if self.acquisition:
            said["acquisition"] = self.acquisition
        if self.projections:
            said["projections"] = True
        if not self.first:
            said |= {"protocol": self.protocol, "without": sorted(self.without)}
        return said


def generate(folder: Path, seeds: range, wanted: Wanted, jobs: int) -> Iterator[int]:
    """Make the cases of `seeds` under `folder`, yielding each seed as it is finished.

    jobs: processes, one thread each, so the result does not depend on it. Cases already finished by an interrupted run
    of the same request are kept. Raises InputError if the folder cannot be written or holds another cohort, SetupError
    if the system ends a process.
    """
    index = _Index(folder, seeds, wanted)
    yield from index.done
    todo = [(i, seed) for i, seed in enumerate(seeds) if seed not in index.done]
    if not todo:
        index.write()
        return
    with process_pool(min(jobs, len(todo))) as pool:
        futures = [pool.submit(_make, folder, i, seed, wanted) for i, seed in todo]
        try:
            for future in as_completed(futures):
                record = future.result()
                index.add(record)
                yield record["seed"]
        except BrokenProcessPool:
            raise SetupError(
                f"{folder}: a process that made patients was ended by the system, perhaps for want of memory; the same "
                "command goes on from the patients that are finished, and with fewer --jobs needs less."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


class _Index:
    """The list of finished cases; rewritten atomically after each, complete when its length is `requested`."""

    def __init__(self, folder: Path, seeds: range, wanted: Wanted) -> None:
        self.wanted = wanted
        self.path = folder / ("index.json" if wanted.array else "cohort.json")
        self.order = {seed: i for i, seed in enumerate(seeds)}
        self.partial = folder / ".unfinished.json"
        self.request = wanted.request(seeds)
        self.records: dict[int, dict[str, Any]] = {}
        check_folder(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._resume(folder)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror})") from None

    def _resume(self, folder: Path) -> None:
        for path in (self.path, self.partial):
            if path.is_file() and not path.is_symlink():
                found = _stated(path)
                if found.get("request") != self.request:
                    raise UsageError(
                        f"{folder}: expected an empty folder or the cohort {self.request}, found {found.get('request')}"
                    )
                self.records = {record["seed"]: record for record in found["cases"]}
                return
        made = {path.name for path in folder.iterdir()} & {self.path.name, self.partial.name, "cohort.npy"}
        made |= {path.name for path in folder.glob("case-*")} & {f"case-{seed}" for seed in self.order}
        if made:
            raise UsageError(
                f"{folder}: expected an empty folder or a cohort, found {min(made)}, which is of no cohort."
            )
        self._write(self.partial, [])
        if self.wanted.array:
            of_case, numbers = self.wanted.array
            shape = (len(self.order), *of_case)
            np.lib.format.open_memmap(folder / "cohort.npy", mode="w+", dtype=numbers, shape=shape).flush()

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
            "format": self.wanted.format,
            "request": self.request,
            "pixel_mm": 6.8,
            "slice_mm": 6.8,
            "phases": PHASES,
            "planes": PLANES,
            "kinds": self.wanted.kinds,
            "cases": records,
        }
        if not self.wanted.first and self.wanted.form == "dicom":
            # Every case has its own.
            del content["pixel_mm"], content["slice_mm"]
        with appearing(path) as part:
            part.write_text(json.dumps(content, indent=1))


def _stated(path: Path) -> dict[str, Any]:
    """What a cohort's list says; UsageError for a file that is none."""
    try:
        found = json.loads(path.read_text())
        if {"request", "cases"} <= found.keys() and all(type(record["seed"]) is int for record in found["cases"]):
            return found
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
        pass
    raise UsageError(f"{path}: expected the list of a cohort of `spectac phantom`, found something else.")


def _make(folder: Path, position: int, seed: int, wanted: Wanted) -> dict[str, Any]:
    import torch

    from spectac_fast.cohort.cuts import native_stacks, working_stacks
    from spectac_fast.cohort.maps import imaged
    from spectac_fast.phantom.protocols import planned
    from spectac_fast.phantom.simulate import simulate

    torch.set_num_threads(1)
    patient, protocol = planned(wanted.protocol, seed, acquisition=wanted.acquisition, without=wanted.without)
    if wanted.form == "maps":
        volumes, found = imaged(patient, protocol, wanted.device)
        _store_array(folder, position, volumes)
        return _told(patient) | found | _drawn(patient, protocol)
    case = simulate(patient, protocol, wanted.device, ideal=not wanted.first)
    stacks = (working_stacks if wanted.form == "npy" else native_stacks)(case, wanted.kinds)
    counts = np.clip(np.rint(stacks), 0, 65535).astype(np.uint16)
    if wanted.form == "npy":
        _store_array(folder, position, counts)
    else:
        _store_dicom(folder, case, counts, wanted)
    record = _told(patient) | {"lv": case.lv, "scatter_to_primary": round(case.scatter_to_primary, 4)}
    if wanted.first:
        return record
    pixel = 6.8 if wanted.form == "npy" else protocol.camera.pixel_mm
    record |= {"shape": list(counts.shape[-3:]), "pixel_mm": pixel, "slice_mm": pixel}
    return record | _drawn(patient, protocol)


def _told(patient: Patient) -> dict[str, Any]:
    return {
        "seed": patient.seed,
        "sex": patient.sex,
        "bmi": round(patient.bmi, 2),
        "edv_ml": round(patient.edv, 1),
        "defects": [dataclasses.asdict(defect) for defect in patient.defects],
    }


def _drawn(patient: Patient, protocol: Protocol) -> dict[str, Any]:
    return {"findings": dataclasses.asdict(patient.findings), "protocol": protocol.to_json()}


def _store_array(folder: Path, position: int, counts: np.ndarray) -> None:
    array = np.lib.format.open_memmap(folder / "cohort.npy", mode="r+")
    array[position] = counts
    array.flush()


def _store_dicom(folder: Path, case: Case, counts: np.ndarray, wanted: Wanted) -> None:
    """counts: [phase, plane, kind, slices, rows, columns] on the case's own pixels."""
    from spectac_fast.cohort.header import settings_of
    from spectac_fast.formats.dicom import write_series

    seed, pixel = case.patient.seed, case.protocol.camera.pixel_mm
    key = f"phantom-{seed}" + (f"-{wanted.acquisition}" if wanted.acquisition else "")
    study = key if wanted.first else f"{key}-{wanted.protocol}"
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
                        pixel_mm=pixel,
                        slice_mm=pixel,
                        orientation=(*cut.right, *cut.down),
                        position=tuple(cut.first_voxel(pixel, counts.shape[-3:])),
                        patient_id=f"SYN{seed:06d}",
                        sex=case.patient.sex,
                        study_key=study,
                        settings=None if wanted.first else settings_of(case, kind),
                    )
        if wanted.projections:
            _store_projections(temporary, case, study)
        known: dict[str, Any] = {kind.lower(): counts[:, :, k] for k, kind in enumerate(wanted.kinds) if k >= 2}
        np.savez_compressed(temporary / "truth.npz", **known)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)


def _store_projections(folder: Path, case: Case, key: str) -> None:
    from spectac_fast.cohort.header import PEAK_KEV, settings_of
    from spectac_fast.formats.dicom.tomo.synthetic import write_projections
    from spectac_fast.reconstruct.camera import view_angles

    camera, detector, settings = case.protocol.camera, case.detector, settings_of(case, "NC")
    for i, phase in enumerate(PHASES):
        write_projections(
            folder / f"{phase}_TOMO.dcm",
            case.views[i, None].cpu().numpy(),
            windows_kev=[PEAK_KEV],
            angles=view_angles(camera.views, camera.arc, camera.mirrored).tolist(),
            radius_mm=settings.radius_mm,
            pixel_mm=detector.dx,
            top_mm=float(detector.axis_z()[-1]),
            phase=phase,
            patient_id=f"SYN{case.patient.seed:06d}",
            sex=case.patient.sex,
            study_key=key,
            collimator=settings.collimator,
            frame_ms=settings.frame_ms,
            prone=settings.prone,
            height_m=settings.height_m,
            weight_kg=settings.weight_kg,
        )
