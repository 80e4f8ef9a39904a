"""What happens to one study before and after the network. Both halves run in threads, beside it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectac_fast.correct.doubts.small_field import field_warnings
from spectac_fast.correct.engines.network import Network
from spectac_fast.correct.outcome import Corrected, Read
from spectac_fast.correct.store import Store
from spectac_fast.correct.study import Prepared, prepare
from spectac_fast.correct.target import wanted_facts
from spectac_fast.data.geometry.field import field_of
from spectac_fast.data.geometry.resample import check_geometry
from spectac_fast.data.inputs import Source
from spectac_fast.data.settle import settled
from spectac_fast.data.study import Study
from spectac_fast.errors import InputError, NotApplicableError, SetupError, SpectacError, UsageError
from spectac_fast.formats.series import NOTHING, Told
from spectac_fast.tracing import phase


class Stages:
    """Reading and writing for one run.

    seed: see `correct_study`. root: what `Study.root` becomes. store: the output folder, or None to keep counts in
    memory only. force: take named files of doubtful kinds too (`read_nc_series`). told: of the AC that is wanted.
    """

    def __init__(
        self,
        network: Network,
        seed: int,
        root: Path,
        store: Store | None,
        *,
        force: bool = False,
        told: Told = NOTHING,
    ) -> None:
        self._network, self._seed, self._root, self._store, self._force = network, seed, root, store, force
        self._told = told

    def read(self, sources: Sequence[Source]) -> tuple[Prepared | None, Read]:
        """The study as the model sees it, unless nothing of it is to be corrected, and what else there is to say."""
        started = time.perf_counter()
        read = Read(Study((), root=self._root))
        if self._store is not None:
            read.entry = self._store.finished(sources)
        if read.entry is None:
            self._read_all(sources, read)
        read.seconds = time.perf_counter() - started
        return read.prepared, read

    def write(
        self, sources: Sequence[Source], read: Read, outputs: Sequence[NDArray[np.float32]] | InputError | None
    ) -> Corrected:
        """Corrected counts from the model's outputs (or its refusal), written if there is an output folder."""
        started = time.perf_counter()
        paths = tuple(source.path for source in sources)
        if read.entry is not None and self._store is not None:
            entry, seconds = read.entry, {"read": read.seconds}
            before = tuple(self._store.paths(entry))
            return Corrected(
                paths, written=before, finished=True, skipped=entry.skipped, failed=entry.failed, seconds=seconds
            )
        counts: tuple[NDArray[np.float32], ...] = ()
        uncertainty: tuple[NDArray[np.float32], ...] = ()
        widening: tuple[float, ...] = ()
        partners: tuple[tuple[int, ...], ...] = ()
        written: tuple[Path, ...] = ()
        warnings: tuple[str, ...] = ()
        try:
            if isinstance(outputs, InputError):
                raise InputError(f"{_place(read.study)}: {outputs}")
            if outputs is not None and read.prepared is not None:
                with phase("denormalise"):
                    counts, uncertainty, widening, unusual = self._finish(read.prepared, outputs)
                warnings = read.prepared.warnings + unusual
                partners = tuple(read.prepared.partners)
                if self._store is not None:
                    with phase("write"):
                        size = self._network.batch_size
                        finished = counts, uncertainty, widening, partners
                        written = tuple(self._store.write(sources, read, *finished, size))
        except (SetupError, UsageError):
            raise
        except SpectacError as reason:
            counts, uncertainty, widening, partners = (), (), (), ()
            read.failed.append(str(reason))
        study = read.study if counts else Study((), root=self._root)
        seconds = {"read": read.seconds, "write": time.perf_counter() - started}
        return Corrected(
            paths,
            study,
            counts,
            uncertainty,
            widening,
            partners,
            written,
            skipped=tuple(read.skipped),
            failed=tuple(read.failed),
            warnings=warnings if counts else (),
            seconds=seconds,
        )

    def _finish(
        self, prepared: Prepared, outputs: Sequence[NDArray[np.float32]]
    ) -> tuple[tuple[NDArray[np.float32], ...], tuple[NDArray[np.float32], ...], tuple[float, ...], tuple[str, ...]]:
        """(corrected counts of each series, their standard deviations if there are any and what these were widened by,
        sentences on them).
        """
        translator = self._network.translator
        means = [output[:, 0] for output in outputs]
        counts = tuple(prepared.finish(means, translator))
        expected = prepared.expectations(means, translator)
        doubts = prepared.doubts(means, expected, translator)
        if self._network.channels == 1:
            return counts, (), (), doubts
        deviations = [output[:, 1] for output in outputs]
        widening = prepared.widening(expected, translator)
        finished = tuple(prepared.finish_deviations(deviations, widening, translator))
        unusual = prepared.foreign_spread(deviations, translator, self._network.usual_samples)
        return counts, finished, tuple(widening), doubts + unusual

    def _read_all(self, sources: Sequence[Source], read: Read) -> None:
        series = []
        for source in sources:
            try:
                with phase("read"):
                    contents = source.contents()
            except SpectacError as reason:
                read.unread = True
                read.failed.append(str(reason))
                continue
            try:
                with phase("read"):
                    one = source.series(contents, force=self._force and source.named)
                check_geometry(one, self._network.translator.pixel_mm)
                field_warnings(one.path, field_of(one), self._network.translator, alone=False)
                series.append(one)
            except SpectacError as reason:
                skip = isinstance(reason, NotApplicableError) and not source.named
                (read.skipped if skip else read.failed).append(str(reason))
        with phase("read"):
            read.study = Study(tuple(settled(series)), root=self._root)
        if series:
            network = self._network
            try:
                with phase("normalise"):
                    facts = wanted_facts(self._told)
                    read.prepared = prepare(read.study, network.translator, network.options, self._seed, facts)
            except SpectacError as reason:
                read.failed.append(str(reason))


def _place(study: Study) -> Path:
    return study.series[0].path
