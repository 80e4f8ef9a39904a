"""Correction on a Ray cluster: actors hold the model and take studies; this process writes what comes back.

All machines must see the inputs under the same paths. Importing this needs no Ray.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from spectac_fast.correct.corrector import Corrector, Plan
from spectac_fast.correct.outcome import Corrected, Read
from spectac_fast.correct.report import Report
from spectac_fast.data.inputs import Source
from spectac_fast.errors import SetupError, SpectacError, UsageError
from spectac_fast.progress import Progress

# A study that ends its actor so often is at fault itself.
_ATTEMPTS = 3
# One that is being corrected and one that waits, so that no actor waits for this process.
_IN_FLIGHT = 2


@dataclasses.dataclass(frozen=True)
class Done:
    """A study that an actor corrected, nothing written; the batch size it took, and the seconds in the model."""

    result: Corrected
    batch_size: int
    seconds: float = 0.0


class Worker:
    """What an actor is: a model, loaded once. settings: arguments of `Corrector`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._corrector = Corrector(**settings)

    def correct(self, study: tuple[Source, ...], root: Path) -> Done:
        """Correct one study; raises SpectacError for settings that the model refuses."""
        network = self._corrector.network
        before = network.seconds
        (result,) = self._corrector.run(Plan((study,), (), root, None))
        return Done(result, network.batch_size, network.seconds - before)


def carry_out_on_ray(
    corrector: Corrector,
    settings: Mapping[str, Any],
    plan: Plan,
    report: Report,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    on_start: Callable[[list[Any]], None] | None = None,
) -> None:
    """Do what `plan` says on the cluster that RAY_ADDRESS names, or on one of this machine, and count it in `report`.

    Args:
        corrector: what made `plan`; its batch size is that of every actor, so that results are those of a local run.
        settings: the arguments of `Corrector` it was made with, as plain values.
        workers: actors; None is one per GPU of the cluster or, for the CPU, one per two cores.
        progress: counts slices. stop: set it to end after the studies under way. on_start: called with the actors.

    An actor that dies is started again and its studies with it; one that is lost three times becomes a sentence in
    `failed`. Actors reserve no CPU, so there is no number of them that a small machine would wait for without end.
    Raises SetupError without Ray, or where no cluster answers; what a model refuses as `Corrector.run` does.
    """
    try:
        import ray
    except ImportError:
        raise SetupError("--engine ray needs Ray: pip install 'spectac_fast[ray]'.") from None
    own, stop = not ray.is_initialized(), stop or threading.Event()
    if own:
        try:
            ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError) as error:
            raise SetupError(f"--engine ray: no cluster answers ({type(error).__name__}).") from None
    network = corrector.network
    try:
        for known in plan.known:
            report.add(known)
        usual = plan.store.batch_size() if plan.store is not None else None
        if usual:
            network.start_at(usual)
        waiting = collections.deque(_unfinished(plan, report, progress))
        if waiting:
            actors = _actors(ray, {**settings, "batch_size": network.batch_size}, workers, len(waiting))
            if on_start:
                on_start(actors)
            for study, done in _spread(ray, actors, plan.root, waiting, stop):
                if done.batch_size < network.batch_size:
                    network.halvings.append(network.batch_size)
                result = _written(plan, study, done)
                report.add(result)
                report.seconds += done.seconds
                if progress:
                    slices = sum(map(len, result.counts))
                    assert progress.total is not None
                    progress.total -= sum(source.frames for source in study) - slices
                    progress.step(slices)
    finally:
        report.halvings, report.interrupted = sorted(set(network.halvings)), stop.is_set()
        if plan.store is not None:
            plan.store.close()
        if own:
            ray.shutdown()


def _unfinished(plan: Plan, report: Report, progress: Progress | None) -> Iterator[tuple[Source, ...]]:
    """The studies that an earlier run has not finished; the others go to `report`."""
    for study in plan.studies:
        entry = plan.store.finished(study) if plan.store else None
        if entry is None or plan.store is None:
            yield study
            continue
        if progress:
            assert progress.total is not None
            progress.total -= sum(source.frames for source in study)
        paths, written = _paths(study), tuple(plan.store.paths(entry))
        report.add(Corrected(paths, written=written, finished=True, skipped=entry.skipped, failed=entry.failed))


def _actors(ray: Any, settings: Mapping[str, Any], workers: int | None, studies: int) -> list[Any]:
    there = ray.cluster_resources()
    gpus = 0 if settings["device"] == "cpu" else int(there.get("GPU", 0))
    count = min(workers or gpus or max(1, int(there.get("CPU", 1)) // 2), studies)
    remote = ray.remote(Worker).options(
        num_cpus=0, num_gpus=1 if gpus else 0, max_restarts=-1, max_task_retries=_ATTEMPTS - 1
    )
    return [remote.remote(settings) for _ in range(count)]


def _spread(
    ray: Any,
    actors: list[Any],
    root: Path,
    waiting: collections.deque[tuple[Source, ...]],
    stop: threading.Event,
) -> Iterator[tuple[tuple[Source, ...], Done]]:
    """Give every actor a study and one more, and another for each that comes back."""
    under_way: dict[Any, tuple[Any, tuple[Source, ...]]] = {}

    def give(actor: Any) -> None:
        if waiting and not stop.is_set():
            study = waiting.popleft()
            under_way[actor.correct.remote(study, root)] = (actor, study)

    for actor in actors * _IN_FLIGHT:
        give(actor)
    while under_way:
        (ready,), _ = ray.wait(list(under_way), num_returns=1)
        actor, study = under_way.pop(ready)
        give(actor)
        try:
            yield study, ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, (SetupError, UsageError)):
                raise error.cause from None
            if not isinstance(error.cause, SpectacError):
                raise
            yield study, _lost(study, str(error.cause))
        except ray.exceptions.RayError as error:
            said = f"{study[0].path}: the worker was lost {_ATTEMPTS} times ({type(error).__name__})."
            yield study, _lost(study, said)


def _lost(study: tuple[Source, ...], sentence: str) -> Done:
    return Done(Corrected(_paths(study), failed=(sentence,)), batch_size=2**30)


def _written(plan: Plan, study: tuple[Source, ...], done: Done) -> Corrected:
    """The result with its files, if there is an output folder."""
    result = done.result
    if plan.store is None or not result.counts:
        return result
    # What failed may be otherwise another time, so it is not put down as finished.
    read = Read(result.study, skipped=list(result.skipped), failed=list(result.failed), unread=bool(result.failed))
    try:
        made = result.counts, result.uncertainty, result.widening, result.partners
        written = plan.store.write(study, read, *made, done.batch_size)
    except SetupError:
        raise
    except SpectacError as reason:
        return Corrected(_paths(study), skipped=result.skipped, failed=(*result.failed, str(reason)))
    return dataclasses.replace(result, written=tuple(written))


def _paths(study: tuple[Source, ...]) -> tuple[Path, ...]:
    return tuple(source.path for source in study)
