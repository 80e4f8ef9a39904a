"""`Corrector`: a model loaded once, and studies from anywhere through it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from spectac_fast._version import __version__
from spectac_fast.correct.engines.network import Network
from spectac_fast.correct.engines.pipeline import Pipeline
from spectac_fast.correct.outcome import Corrected
from spectac_fast.correct.stages import Stages
from spectac_fast.correct.store import Store
from spectac_fast.correct.study import gives_single_sample
from spectac_fast.correct.target import check_wanted, wanted_settings
from spectac_fast.data.copies import without_copies
from spectac_fast.data.inputs import Source, common_root, find_studies, paths_of
from spectac_fast.errors import NoInputError, SpectacError, UsageError
from spectac_fast.formats.series import NOTHING, Provenance, Told
from spectac_fast.models.registry import load
from spectac_fast.models.translator import Translator
from spectac_fast.models.uncertainty import calibration_of, check_sampling, warn_unmeasured
from spectac_fast.outputs import Permit
from spectac_fast.progress import Progress

_MOST_JOBS = 4


@dataclass(frozen=True)
class Plan:
    """What a run is to do: its studies, results that are known beforehand, and where it writes (or None)."""

    studies: tuple[tuple[Source, ...], ...]
    known: tuple[Corrected, ...]
    root: Path
    store: Store | None

    @property
    def slices(self) -> int:
        """As the headers say, those of files that will be skipped included."""
        return sum(source.frames for study in self.studies for source in study)


class Corrector:
    """Corrects studies in batches that run across them, while others are read and written.

        for result in sf.Corrector("bbdm").map(["studies", "more.zip"]):
            result.study, result.counts

    Args:
        model: name or file of a model (`spectac_fast.load`), or a `Translator`.
        device: "auto", "cpu", "cuda" or "cuda:N"; a Translator stays where it is.
        precision: "fp32", "bf16" or "fp16": of the network's body; "auto" is "fp32".
        steps, samples: passed on to the model unless None.
        uncertainty: where given, also the standard deviation of every corrected count, from as many samples (at least
            2) of a model that draws any (`translate_with_std`). It changes nothing about the corrected counts.
        seed: together with the series UID it fixes the noise of a slice.
        batch_size: slices in every run of the network, a power of two from 2 to 64, or "auto": what memory allows.
        jobs: threads that read, and as many that write; None is one per core, at most four.
        force: correct named files that are already corrected or transaxial; the result says so.
        told: kind and phase of the files, where these leave it open or are wrong, plane and pixel sizes of NIfTI and
            npy files, and whether the AC that is wanted keeps its scatter.

    Results are the same bytes whatever else is corrected in the same run, at one batch size. Where memory does not
    suffice the batch size is halved, which may change a count by one. A Corrector can be pickled, with its weights.
    Raises SetupError for a model or device that is not there, TypeError for arguments of another type, ValueError for
    a number that is too small, UsageError for other impossible settings.
    """

    def __init__(
        self,
        model: str | Path | Translator = "bbdm",
        *,
        device: str = "auto",
        precision: str = "auto",
        steps: int | None = None,
        samples: int | None = None,
        uncertainty: int | None = None,
        seed: int = 0,
        batch_size: int | str = "auto",
        jobs: int | None = None,
        force: bool = False,
        told: Told = NOTHING,
    ) -> None:
        if not isinstance(model, (str, Path, Translator)):
            raise TypeError(f"model: expected a name, a path or a Translator, found {type(model).__name__}.")
        if not isinstance(device, str):
            raise TypeError(f"device: expected auto, cpu, cuda or cuda:N, found {device!r}.")
        if not isinstance(told, Told):
            raise TypeError(f"told: expected a Told, found {type(told).__name__}.")
        for name, number in (("steps", steps), ("samples", samples), ("jobs", jobs)):
            _check_number(name, number, least=1)
        _check_number("seed", seed)
        self.translator = load(model, device) if isinstance(model, (str, Path)) else model
        check_wanted(told, self.translator)
        self.told = told
        self.seed, self.force, self.jobs = seed, force, jobs or min(os.cpu_count() or 1, _MOST_JOBS)
        options = {key: value for key, value in (("steps", steps), ("samples", samples)) if value is not None}
        if isinstance(batch_size, str) and batch_size != "auto":
            raise UsageError(f"batch size: expected auto or a number, found {batch_size!r}.")
        self._asked = None if isinstance(batch_size, str) else batch_size
        self._options, self._precision = options, "fp32" if precision == "auto" else precision
        if uncertainty is not None:
            _check_number("uncertainty", uncertainty)
            check_sampling(self.translator)
            if uncertainty < 2:
                raise UsageError(f"uncertainty: expected at least 2 samples, found {uncertainty}.")
            warn_unmeasured(self.translator)
        self._uncertainty = uncertainty
        self.network = Network(
            self.translator,
            options,
            precision=self._precision,
            batch_size=self._asked,
            std_samples=uncertainty,
        )
        self.waited = 0.0

    @property
    def provenance(self) -> Provenance:
        """What the derived objects say of their making."""
        settings = {
            "seed": self.seed,
            "device": self.translator.device.type,
            "precision": self._precision,
            "planes": "separate" if gives_single_sample(self.translator, self._options) else "combined",
        }
        return Provenance(
            self.translator.name,
            self.translator.weights_sha256,
            __version__,
            {**self._options, **settings, **wanted_settings(self.told)},
            self._deviation(),
        )

    def _deviation(self) -> dict[str, int | float]:
        """What the standard deviations depend on besides."""
        if self._uncertainty is None:
            return {}
        known = calibration_of(self.translator)
        by_study = {"exponent": known.exponent, "usual error": known.usual} if known.exponent else {}
        return {
            "deviation of samples": self._uncertainty,
            "temperature": known.temperature,
            "floor": known.floor,
            **by_study,
        }

    def map(self, inputs: str | Path | Iterable[str | Path], *, ordered: bool = True) -> Iterator[Corrected]:
        """The studies at `inputs`, corrected, one by one; nothing is written.

        inputs: DICOM, NIfTI and npy files, folders searched to the bottom for DICOM, DICOMDIR, zip archives, patterns;
        one path or several.
        ordered: in the order of their first files rather than as they are done. A file that is damaged, or that was
        named and is not an NC series, is a sentence in `failed`; sound files of another kind that were found are in
        `skipped`. Few studies are held in memory, however many there are. Raises NoInputError where there is no file
        at all, UsageError for options that the model refuses, TypeError and ValueError for what are no paths.
        """
        return self.run(self.plan(paths_of(inputs)), ordered=ordered)

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
        """Find the studies; see `map`, and `correct_files` for the other arguments. looked: called for each file."""
        root = common_root(inputs)
        store = None
        if out is not None:
            store = Store(
                out,
                root,
                self.provenance,
                shard=shard,
                overwrite=overwrite or again,
                force=self.force,
                told=self.told,
                permit=Permit(tuple(inputs), overwrite),
            )
        found = find_studies(inputs, self.told, looked)
        known = [Corrected(skipped=(text,)) for text in found.skipped]
        known += [Corrected(failed=(text,)) for text in found.failed]
        studies: list[Sequence[Source]] = [group for study in found.studies for group in without_copies(study)]
        if store is not None:
            studies = _one_target_each(_not_made_here(studies, store.made(), known), store, known)
        index, count = shard
        return Plan(tuple(map(tuple, studies[index - 1 :: count])), tuple(known[index - 1 :: count]), root, store)

    def run(
        self,
        plan: Plan,
        *,
        ordered: bool = True,
        stop: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Corrected]:
        """Do what `plan` says. stop: set it to end after the batch under way. progress: counts slices."""
        usual = plan.store.batch_size() if self._asked is None and plan.store is not None else None
        if usual:
            self.network.start_at(usual)
        stages = Stages(self.network, self.seed, plan.root, plan.store, force=self.force, told=self.told)
        pipeline: Pipeline[tuple[Source, ...], Corrected] = Pipeline(
            stages.read,
            stages.write,
            self.network,
            jobs=self.jobs,
            ordered=ordered,
            stop=stop or threading.Event(),
            on_slices=progress.step if progress else None,
        )
        try:
            yield from plan.known
            frames = {study: sum(source.frames for source in study) for study in plan.studies}
            expected = {tuple(source.path for source in study): count for study, count in frames.items()}
            for result in pipeline.run(frames.items()):
                count = expected.pop(result.sources)
                if progress:
                    assert progress.total is not None
                    progress.total -= count - sum(map(len, result.counts))
                yield result
            if expected and not pipeline.stop.is_set():
                first = next(iter(expected))[0]
                raise SpectacError(
                    f"{first}: expected a result for each of {len(frames)} studies, found none for {len(expected)}; "
                    "give the same command again."
                )
        finally:
            self.waited += pipeline.waited
            if plan.store is not None:
                plan.store.close()

    def describe(self) -> dict[str, Any]:
        """Model and settings, for a report."""
        provenance = self.provenance
        return {
            "model": {"name": provenance.model, "weights_sha256": provenance.weights},
            "settings": {**provenance.settings, **provenance.uncertainty},
            "device": str(self.translator.device),
            "batch_size": self.network.size,
            "jobs": self.jobs,
        }


def _check_number(name: str, number: object, least: int | None = None) -> None:
    """Raise TypeError for what is neither a whole number nor None, ValueError for less than `least`."""
    if number is None:
        return
    if isinstance(number, bool) or not isinstance(number, Integral):
        raise TypeError(f"{name}: expected a whole number, found {number!r}.")
    if least is not None and number < least:
        raise ValueError(f"{name}: expected at least {least}, found {number}.")


def nothing_to_correct(inputs: Sequence[Path], skipped: int) -> NoInputError:
    """The sentence for inputs that hold DICOM files, but none to correct."""
    where = ", ".join(map(str, inputs))
    return NoInputError(f"{where}: expected NC slices here, found {skipped} DICOM files of other kinds.")


def _not_made_here(
    studies: Sequence[Sequence[Source]], made: set[Path], known: list[Corrected]
) -> list[Sequence[Source]]:
    """The studies without what earlier runs wrote to an output folder that lies within the input."""
    for study in studies:
        for source in study:
            if source.path in made:
                known.append(
                    Corrected((source.path,), skipped=(f"{source.path}: made from others by an earlier run.",))
                )
    left = ([source for source in study if source.path not in made] for study in studies)
    return [study for study in left if study]


def _one_target_each(
    studies: Sequence[Sequence[Source]], store: Store, known: list[Corrected]
) -> list[Sequence[Source]]:
    """The studies without the NC sources whose corrected form would have the name of another's."""
    owners: dict[Path, list[Source]] = {}
    for study in studies:
        for source in study:
            owners.setdefault(store.target(source.path), []).append(source)
    dropped: set[Path] = set()
    for target, sources in owners.items():
        corrected = [source for source in sources if _is_nc(source)] if len(sources) > 1 else []
        for source in corrected[1:]:
            dropped.add(source.path)
            text = f"{source.path}: expected a name of its own, found that {target} is taken in this run."
            known.append(Corrected((source.path,), failed=(text,)))
    left = ([source for source in study if source.path not in dropped] for study in studies)
    return [study for study in left if study]


def _is_nc(source: Source) -> bool:
    try:
        source.series(source.contents(), force=False)
    except SpectacError:
        return False
    return True
