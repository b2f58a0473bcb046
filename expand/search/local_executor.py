"""Trains the jobs of a search in this process, one after the other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from expand.core import signals, time_limit
from expand.core.attempt import Epoch
from expand.core.outcome import Completed, Failed
from expand.core.time_limit import TimedOut
from expand.search.job import evaluate

if TYPE_CHECKING:  # Ray's workers import this module, and need none of what the driver counts and records with
    from expand.search.engine import Search


class _RecordFailed(BaseException):
    """The driver could not record an epoch. This is not the candidate's fault, so `evaluate` must not catch it."""


def drive_here(search: Search) -> None:
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
