"""`Reconstructor`: projections from anywhere, and the slices that are made of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast._version import __version__
from spectac_fast.correct.physics.among import Among, maps_among
from spectac_fast.correct.physics.maps import FileMap, MapSource, PredictedMap, load_map
from spectac_fast.correct.physics.views import Preparation
from spectac_fast.correct.physics.volumes import Made, make
from spectac_fast.correct.physics.wanted import Wanted
from spectac_fast.correct.store import Store
from spectac_fast.data.inputs import Found as Sorted
from spectac_fast.data.inputs import Source, common_root, find_studies, found_or_named, paths_of
from spectac_fast.data.study import output_path
from spectac_fast.errors import InputError, NoInputError, SetupError, SpectacError, UsageError
from spectac_fast.formats.dicom.tomo.read import read_projections
from spectac_fast.formats.dicom.tomo.stacks import DEVIATION, stack_object
from spectac_fast.formats.projections import Projections
from spectac_fast.formats.series import NOTHING, Provenance, Told, volume_ending
from spectac_fast.models.mumap import load_map_model
from spectac_fast.models.mumap_bridge import load_map_bridge
from spectac_fast.outputs import Permit


@dataclass(frozen=True)
class Reconstructed:
    """What became of one file. projections, made: what was read and what was made of it, None where nothing was.

    written: the files made of it, if any were asked for. finished: an earlier run had written them; then nothing was
    made. skipped, failed: a sentence for a file that is something else, or that cannot be reconstructed. warnings: one
    for everything unusual. seconds: spent reading, reconstructing and writing.
    """

    sources: tuple[Path, ...] = ()
    projections: Projections | None = None
    made: Made | None = None
    written: tuple[Path, ...] = ()
    finished: bool = False
    skipped: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    status = "reconstructed"

    @property
    def counts(self) -> tuple[NDArray, ...]:
        """Those of every stack, [slices, rows, columns]."""
        return tuple(stack.counts for stack in self.made.stacks) if self.made else ()


@dataclass(frozen=True)
class Plan:
    """What a run is to do: its files, the maps among them, results that are known beforehand, and where it writes (or
    None).
    """

    sources: tuple[Source, ...]
    known: tuple[Reconstructed, ...]
    root: Path
    store: Store | None
    maps: Among = field(default_factory=Among)


class Reconstructor:
    """Reconstructs projections: NC, and AC by an attenuation map or by Chang, cut along the heart.

        for result in sf.Reconstructor(ac="chang").map(["tomo.dcm"]):
            result.made.volumes["AC"], result.made.stacks

    Args:
        told: the phase of the files, where the user says it.
        wanted: everything else, by the names of `Wanted`.

    Raises UsageError for settings that do not make sense together, NoInputError and InputError for an attenuation map
    that is not there or cannot be used, SetupError where weights of a network that is asked for are not installed.
    """

    def __init__(self, *, told: Told = NOTHING, **wanted: Any) -> None:
        self.wanted, self.told = Wanted(**wanted), told
        self._map, self._preparation = _source(self.wanted), Preparation(self.wanted)

    @property
    def provenance(self) -> Provenance:
        """What the counts depend on besides the projections."""
        digest = self._map.digest if self._map else ""
        settings = {**self.wanted.settings(), "planes": ",".join(self.wanted.planes), "map": digest}
        settings |= self._preparation.settings
        drawing = self.wanted.drawing()
        if drawing and self._map:
            drawing |= self._map.doubted.settings
        return Provenance("reconstruction", "", __version__, settings, drawing)

    def map(self, inputs: str | Path | Iterable[str | Path]) -> Iterator[Reconstructed]:
        """The projections at `inputs` (files, folders, DICOMDIR, archives, patterns; one path or several), one by one;
        nothing is written.

        Raises NoInputError where there is no file at all, TypeError and ValueError for what are no paths.
        """
        return self.run(self.plan(paths_of(inputs)))

    def plan(
        self,
        inputs: Sequence[Path],
        out: Path | None = None,
        *,
        overwrite: bool = False,
        again: bool = False,
        shard: tuple[int, int] = (1, 1),
        looked: Callable[[], None] | None = None,
    ) -> Plan:
        """Find the files; out: folder to write to, whose manifest says what is finished; overwrite, again: as for
        `correct_files`; shard: (index from 1, number) of the part of the files to do; looked: called for each file.
        """
        root, store = common_root(inputs), None
        if out is not None:
            permit = Permit(tuple(inputs), overwrite)
            again = overwrite or again
            store = Store(out, root, self.provenance, shard=shard, overwrite=again, told=self.told, permit=permit)
        found = find_studies(inputs, self.told, looked)
        known = [Reconstructed(skipped=(text,)) for text in found.skipped]
        known += [Reconstructed(failed=(text,)) for text in found.failed]
        sources, taken, maps = [], set(), Among(rest=tuple(each for study in found.studies for each in study))
        if self.wanted.ac == "mu":
            maps = maps_among(maps.rest, self.told)
            known += [Reconstructed(skipped=(text,)) for text in maps.unused]
        for source in maps.rest:
            name = output_path(source.path, root, Path())
            if name in taken and store is not None:
                text = f"{source.path}: expected a name of its own, found that another file of this run has it."
                known.append(Reconstructed((source.path,), failed=(text,)))
            else:
                taken.add(name)
                sources.append(source)
        index, count = shard
        return Plan(tuple(sources[index - 1 :: count]), tuple(known[index - 1 :: count]), root, store, maps)

    def run(self, plan: Plan, *, stop: threading.Event | None = None, progress: Any = None) -> Iterator[Reconstructed]:
        """Do what `plan` says, a file at a time. stop: set it to end after the file at hand. progress: counts files."""
        yield from plan.known
        try:
            for source in plan.sources:
                if stop is not None and stop.is_set():
                    return
                yield self._one(source, plan)
                if progress is not None:
                    progress.step()
        finally:
            if plan.store is not None:
                plan.store.close()

    def describe(self) -> dict[str, Any]:
        """Settings, for a report."""
        return {"settings": {**self.provenance.settings, **self.provenance.uncertainty}, "device": "cpu"}

    def _one(self, source: Source, plan: Plan) -> Reconstructed:
        paths, times = (source.path,), [time.perf_counter()]
        together = [source, *plan.maps.of.get(source.path, ())]
        entry = plan.store.finished(together) if plan.store is not None else None
        if entry is not None and plan.store is not None:
            return Reconstructed(
                paths, written=tuple(plan.store.paths(entry)), finished=True, skipped=entry.skipped, failed=entry.failed
            )
        try:
            projections = self._read(source)
            times.append(time.perf_counter())
            by = plan.maps.map(source) if self.wanted.ac == "mu" else self._map
            made = make(projections, self.wanted, by, preparation=self._preparation)
            times.append(time.perf_counter())
            written = self._write(together, projections, made, plan, by) if plan.store is not None else ()
            times.append(time.perf_counter())
        except (SetupError, UsageError):
            raise
        except SpectacError as reason:
            said = Sorted()
            found_or_named(said, reason, source.named)
            return Reconstructed(paths, skipped=tuple(said.skipped), failed=tuple(said.failed))
        warnings = tuple(f"{source.path}: {note}" for note in (*source.notes, *made.notes))
        seconds = dict(zip(("read", "reconstruct", "write"), (b - a for a, b in pairwise(times))))
        return Reconstructed(paths, projections, made, tuple(written), warnings=warnings, seconds=seconds)

    def _read(self, source: Source) -> Projections:
        if volume_ending(source.path) or source.slices:
            raise InputError(f"{source.path}: expected projections (an NM TOMO file), found a stack of slices.")
        return read_projections(source.path, source.contents()[0], told=self.told)

    def _write(
        self, together: list[Source], projections: Projections, made: Made, plan: Plan, by: MapSource | None
    ) -> list[Path]:
        maps = by.sources if by is not None else ()
        objects, counts = [], dict[str, Dataset]()
        assert plan.store is not None
        for stack in made.stacks:
            path = output_path(together[0].path, plan.root, plan.store.out, f"{stack.kind}_{stack.plane}")
            # What a deviation is one of stands first among its sources.
            of = (counts[stack.plane],) if stack.kind == DEVIATION else ()
            ds = stack_object(projections, stack, maps if stack.corrected else (), of)
            if stack.kind == "AC":
                counts[stack.plane] = ds
            objects.append((ds, path))
        return plan.store.place(together, objects)


def _source(wanted: Wanted) -> MapSource | None:
    if wanted.ac == "predicted":
        bridge = load_map_bridge(wanted.bridge, device="cpu") if wanted.uncertainty is not None else None
        return PredictedMap(load_map_model(wanted.maps, device="cpu"), bridge)
    return FileMap(*load_map(wanted.map_path)) if wanted.map_path is not None else None


def reconstruct(path: str | Path, **wanted: Any) -> Made:
    """Reconstruct the projections in one NM TOMO file, or in a folder with their attenuation map (`ac="mu"`).

        made = sf.reconstruct("tomo.dcm", ac="chang")
        made.volumes["NC"], made.axis, made.stacks

    wanted: as for `Reconstructor`. Raises InputError for a file that cannot be reconstructed as wanted, NoInputError
    where there is none, UsageError for settings that do not make sense together.
    """
    by, failed, skipped = Reconstructor(**wanted), list[str](), list[str]()
    for result in by.map([path]):
        if result.made is not None:
            return result.made
        failed, skipped = [*failed, *result.failed], [*skipped, *result.skipped]
    for text in (*failed, *skipped):
        raise InputError(text)
    raise NoInputError(f"{path}: expected projections (NM TOMO), found none.")
