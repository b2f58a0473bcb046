"""`expand run`: from a study to a finished run directory, in order. The loop of a search is `_drive_here`."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from expand.config.request import Request
from expand.core import signals, time_limit
from expand.core.attempt import Epoch
from expand.core.errors import ExpandError
from expand.core.outcome import Completed, Failed
from expand.core.signals import Interrupted
from expand.core.study import Budget, Data, Study
from expand.core.time_limit import TimedOut
from expand.core.trial import Suggestion
from expand.counting.cost import MacsCounter
from expand.data.cache.clip_cache import ClipCache, prepare
from expand.data.manifest import Manifest
from expand.data.open_data import open_data
from expand.data.transforms import mirrored_labels
from expand.monitoring.dashboard.presenter import Presenter
from expand.monitoring.progress import Watcher
from expand.monitoring.trackers import following
from expand.report.run_report import report, run_facts
from expand.search.chance import Chance, nothing_learned
from expand.search.engine import Search
from expand.search.experiment import check_trials, facts_of, refuse_changes, say_limits, with_facts
from expand.search.job import evaluate
from expand.search.memory_check import require_memory_for_one
from expand.search.watchdog import LostRay
from expand.search.worker_plan import Workers
from expand.storage import run_directory as records
from expand.storage.facts import read_facts
from expand.storage.folder import made_folder
from expand.storage.run_directory import Record
from expand.storage.stored_study import as_begun
from expand.strategies.inherited import FromScratch, Grown
from expand.training.kernels import native


def run(
    request: Request, folder: Path, workers: Workers, watch: Watcher, *, storage: str | None = None, force: bool = False,
    track: Sequence[str] = (), retry_failed: bool = False,
) -> Record:  # fmt: skip
    """Runs the study in `folder`, or resumes it, to its end, and writes the report.

    Args:
        track: names of trackers.
        retry_failed: train failed trials again.
        force: accept another budget or other videos than the run's, and networks that do not beat chance.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived.
        UsageError, ExpandError: see `records.open_for_writing`; or the study or the videos differ from the run's.
    """
    folder = Path(os.path.realpath(folder))  # workers have another working directory
    study = as_begun(request, read_facts(folder))
    with made_folder(folder), signals.handled():
        manifest = open_data(study.data, watch.progress)
        macs = _checked(study, manifest, workers, folder)
        facts = facts_of(request, study, manifest)
        refuse = partial(refuse_changes, facts=facts, manifest=manifest, folder=folder, force=force)
        opening = records.open_for_writing(
            folder, facts, study, storage=storage, refuse=refuse, threads=workers.threads
        )
        with signals.deferred(), opening as record, following(watch, track, folder) as watch:
            check_trials(record, study, workers, watch)
            record = with_facts(record, facts, manifest)
            with signals.immediate():
                caches = decoded(study.data, manifest, watch)
            say_limits(study, caches, manifest, watch)
            show = Presenter(record, partial(run_facts, record), watch.note)
            folders = (str(caches[0].folder), str(caches[1].folder))
            lengths = [caches[0].length(index) for index in range(len(caches[0]))]
            chance = Chance.of(caches[1].labels, len(caches[1].classes), tune_command(request))
            search = Search(
                _searched(study, request.grown), record, macs, folders, lengths, workers.threads, watch, show,
                None if force else chance,
                at_once=max(workers.count, 1), retry_failed=retry_failed,
            )  # fmt: skip
            record.set_finished(request.grown is not None and record.finished)
            with signals.immediate():
                native.kernels()  # compiled before the time limit of a training runs
            try:
                _drive(search, workers, folder, track)
            except (Interrupted, LostRay):
                with contextlib.suppress(ExpandError):  # such as an unavailable database
                    search.interrupted()
                raise
            if request.grown is None:
                search.end()
                if why := nothing_learned(record.trials(), chance):
                    watch.note(why)
            show.refresh(now=True)
            with signals.immediate():
                report(record)
            return record


def tune_command(request: Request) -> str:
    """The command that finds a recipe for the study on these videos."""
    words = ["expand", "tune", request.reference or "STUDY"]
    words += [] if request.scale == "demo" else ["--scale", request.scale]
    return shlex.join(words + (["--data", request.data] if request.data else []))


def _searched(study: Study, grown: Suggestion | None) -> Study:
    """The study with a strategy that no inherited weights mislead, or one that trains this network and minds no budget."""
    if grown is None:
        return replace(study, strategy=FromScratch(study.strategy))
    budget = Budget(attempts=study.budget.attempts, minutes_per_trial=study.budget.minutes_per_trial)
    return replace(study, strategy=Grown(grown), budget=budget)


def _drive(search: Search, workers: Workers, folder: Path, track: Sequence[str]) -> None:
    if workers.count == 0:
        return _drive_here(search)
    from expand.search.ray_executor import drive_on_ray

    drive_on_ray(search, workers, folder, track)


class _RecordFailed(BaseException):
    """The driver could not record an epoch. This is not the candidate's fault, so `evaluate` must not catch it."""


def _drive_here(search: Search) -> None:
    """The whole search in this process, one training after the other."""
    while (job := search.next()) is not None or not search.done:
        if job is None:
            signals.check()
            time.sleep(0.1)  # a trial must wait before its next try
            continue
        alarm = time_limit.Alarm(job.seconds)

        def on_epoch(entry: Epoch, number: int = job.number, alarm: time_limit.Alarm = alarm) -> None:
            with alarm.held_back(), signals.deferred():
                try:
                    search.on_epoch(number, entry)
                except Exception as error:
                    raise _RecordFailed from error

        def on_step(number: int, epoch: int, done: int, steps: int, loss: float) -> None:
            signals.check()
            search.watch.step(number, epoch, done, steps, loss)

        try:
            with alarm, signals.immediate():  # in this order: a signal never leaves an alarm armed
                outcome = evaluate(job, on_epoch, on_step)
        except TimedOut as late:  # raised when `evaluate` could not catch it
            outcome = Failed(str(late))
        except _RecordFailed as failure:
            assert failure.__cause__ is not None
            raise failure.__cause__ from None
        if not isinstance(outcome, Completed):
            signals.check()  # a signal to the whole process group also ends the loader's processes
        search.on_end(job.number, outcome)


def _checked(study: Study, manifest: Manifest, workers: Workers, folder: Path) -> MacsCounter:
    """Raises `UsageError` for what cannot be searched, before anything is written."""
    mirrored_labels(manifest.classes, study.data.mirrored)
    macs = MacsCounter(study.space, len(manifest.classes))
    first = study.strategy.ask(study, (), macs)
    if workers.address is None and not (folder / "study.json").exists():
        require_memory_for_one(study, first, macs.cost, len(manifest.split("train")))
    return macs


def decoded(data: Data, manifest: Manifest, watch: Watcher) -> tuple[ClipCache, ClipCache]:
    """The training and the validation clips."""

    def decoding(done: int, total: int) -> None:
        if done % 100 == 0:
            watch.progress(f"decoding videos once: {done} of {total}")

    training, validation = prepare(
        manifest, side=data.cache_side, frames=data.cache_frames, fly=data.decode == "fly",
        skip_damaged=not data.strict, progress=decoding,
    )  # fmt: skip
    return ClipCache(training), ClipCache(validation)
