"""The output folder of a run: what is finished in it, and how a study gets there whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import NDArray

from spectac_fast.correct.manifest import Entry, Manifest, Output, file_sha256, settings_hash, staged_files
from spectac_fast.correct.outcome import Read
from spectac_fast.data.inputs import Source
from spectac_fast.data.study import MARKS, Study, output_path, staged_object, write_corrected
from spectac_fast.errors import InputError, SetupError
from spectac_fast.formats.series import NOTHING, Provenance, Told
from spectac_fast.outputs import OWN, Permit, check_folder

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


class Store:
    """Writes below `out`, keeping the folders below `root`, and remembers in a manifest what is finished.

    provenance: what the counts are made by. shard: (index from 1, number of shards). overwrite: take nothing as
    finished. force: named files of doubtful kinds are taken too. told: of NIfTI and npy files. permit: what may be
    replaced besides what earlier runs have put here. Raises SetupError if `out` cannot be written or its manifest
    cannot be read; makes nothing yet.
    """

    def __init__(
        self,
        out: Path,
        root: Path,
        provenance: Provenance,
        *,
        shard: tuple[int, int] = (1, 1),
        overwrite: bool = False,
        force: bool = False,
        told: Told = NOTHING,
        permit: Permit = OWN,
    ) -> None:
        check_folder(out)
        self.out, self.root, self._provenance, self._overwrite = out.absolute(), root, provenance, overwrite
        self._permit = permit
        self._manifest = Manifest(self.out, shard)
        self._settings = settings_hash(
            {
                "model": provenance.model,
                "weights": provenance.weights,
                "version": provenance.version,
                "force": force,
                **{key: value for key, value in asdict(told).items() if value is not None},
                **provenance.settings,
                **provenance.uncertainty,
            }
        )

    def batch_size(self) -> int | None:
        """That of earlier studies with the same settings, so that a resumed run gives the same bytes."""
        return None if self._overwrite else self._manifest.batch_size(self._settings)

    def finished(self, sources: Sequence[Source]) -> Entry | None:
        """What an earlier run made of these very sources, if all of it is in its place."""
        if self._overwrite:
            return None
        entry = self._manifest.finished(self._settings, self._names(sources))
        # A file that was passed over when it was found is refused when it is named.
        refused = entry is not None and entry.skipped and any(source.named for source in sources)
        return None if refused else entry

    def made(self) -> set[Path]:
        """What earlier runs have put here: no source, where the folder lies within the input."""
        return {self.out / file for file in self._manifest.outputs()}

    def target(self, path: Path) -> Path:
        """Where the corrected form of a source goes."""
        return output_path(path, self.root, self.out)

    def paths(self, entry: Entry) -> list[Path]:
        """The files of an entry."""
        return [self.out / output.file for output in entry.outputs]

    def write(
        self,
        sources: Sequence[Source],
        read: Read,
        counts: Sequence[NDArray],
        uncertainty: Sequence[NDArray],
        widening: Sequence[float],
        partners: Sequence[Sequence[int]],
        batch_size: int,
    ) -> list[Path]:
        """Write the corrected series of one study, all or none, and record them unless a source could not be read.

        counts, uncertainty, widening, partners: as `write_corrected` takes them.

        Raises InputError for a header that cannot be encoded, SetupError where writing fails.
        """

        def record(staged: list[tuple[Path, Path]]) -> None:
            if read.unread:
                return
            outputs = tuple(Output(self._below(path), _hash(temporary)) for temporary, path in staged)
            names = self._names(sources)
            self._manifest.record(
                Entry(self._settings, names, outputs, batch_size, tuple(read.skipped), tuple(read.failed))
            )

        self._clear(read.study)
        return write_corrected(
            read.study,
            counts,
            self.out,
            provenance=self._provenance,
            uncertainty=uncertainty,
            widening=widening,
            partners=partners,
            on_staged=record,
            refusal=self._refusal,
        )

    def place(self, sources: Sequence[Source], objects: Sequence[tuple[Dataset, Path]]) -> list[Path]:
        """Write objects to their paths below `out`, all or none, and record them as made of these sources.

        Raises InputError for a header that cannot be encoded, SetupError where writing fails.
        """
        self._manifest.lock()
        staged: list[Path] = []
        paths = [path for _, path in objects]
        for sentence in filter(None, map(self._refusal, paths)):
            raise InputError(sentence)
        try:
            for ds, path in objects:
                for left in staged_files(path):
                    left.unlink(missing_ok=True)
                staged.append(staged_object(sources[0].path, ds, path))
            outputs = tuple(Output(self._below(path), _hash(temporary)) for temporary, path in zip(staged, paths))
            self._manifest.record(Entry(self._settings, self._names(sources), outputs, 0))
            for temporary, path in zip(staged, paths):
                os.replace(temporary, path)
        except OSError as error:
            raise SetupError(f"{self.out}: cannot write files here ({error.strerror}).") from error
        finally:
            for temporary in staged:
                temporary.unlink(missing_ok=True)
        return paths

    def close(self) -> None:
        """Give the folder free for another run."""
        self._manifest.close()

    def _clear(self, study: Study) -> None:
        """Remove what a killed run has left of this study's outputs; the lock says that it is nobody else's."""
        self._manifest.lock()
        for series in study.series:
            for mark in MARKS:
                for left in staged_files(output_path(series.path, self.root, self.out, mark)):
                    left.unlink(missing_ok=True)

    def _refusal(self, path: Path) -> str:
        """Why a file of a study may not be written to `path`; "" where it may."""
        return self._manifest.obstacle(path, self._permit)

    def _names(self, sources: Sequence[Source]) -> dict[str, str]:
        return {os.path.relpath(source.path, self.root): source.sha256 for source in sources}

    def _below(self, path: Path) -> str:
        return path.relative_to(self.out).as_posix()


def _hash(path: Path) -> str:
    digest = file_sha256(path)
    if digest is None:
        raise FileNotFoundError(f"{path} has gone")
    return digest
