"""The engine's jobs as Ray Tune sees them: the jobs that it gets, by Tune's names of trials, and their results. Without ray."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from expand.core import time_limit
from expand.core.attempt import Epoch
from expand.core.outcome import Failed, Outcome
from expand.core.time_limit import TimedOut
from expand.search.faults import worker_died
from expand.search.job import Job
from expand.search.watchdog import Watched
from expand.storage.serialize import from_plain, outcome_from_text

if TYPE_CHECKING:
    from expand.search.engine import Search

Avoid = Callable[[Job, Mapping[str, int]], list[str] | None]


class TuneJobs:
    """Gives jobs to Tune and takes their results. An exception on the driver's side is stored as `error` and ends Tune, which
    would hide it.

    Args:
        avoid: the nodes that a job must avoid, None if all others are full; gets the number of trials on each node.
    """

    def __init__(self, watched: Watched, avoid: Avoid) -> None:
        self.watched, self.avoid = watched, avoid
        self.error: BaseException | None = None
        self.finished = False
        self.reasons: dict[str, str] = {}  # why workers have died
        self._jobs: dict[str, Job] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._nodes: dict[str, str] = {}

    def take(self, trial: str) -> tuple[Job, list[str]] | None:
        """The next job and the nodes to avoid; None if nothing can start now, or if the search has ended (`finished`)."""
        if self.error is None:
            with self._driver() as search:
                job = search.next()
                if job is None:
                    self.finished = search.done
                    return None
                avoid = self.avoid(job, Counter(self._nodes.values()))
                if avoid is None:
                    search.put_back(job.number)
                    return None
                self._jobs[trial] = job
                return job, avoid
        self.finished = True
        return None

    def report(self, trial: str, result: Mapping[str, Any]) -> None:
        """Takes a report of a job: an epoch, the outcome, or the node on which it runs."""
        with self._driver() as search:
            if "outcome" in result:
                self._outcomes[trial] = outcome_from_text(result["outcome"])
            elif "entry" in result:
                search.on_epoch(self._jobs[trial].number, from_plain(json.loads(result["entry"]), Epoch))
            elif "node" in result:
                self._nodes[trial] = result["node"]

    def ended(self, trial: str, result: Mapping[str, Any] | None) -> None:
        """Tune has finished a job, or its worker has died."""
        with self._driver() as search:
            job, node = self._jobs.pop(trial), self._nodes.pop(trial, "")
            outcome = self._outcomes.pop(trial, None)
            if outcome is None and result and "outcome" in result:
                outcome = outcome_from_text(result["outcome"])
            outcome = outcome or timed_out(job) or worker_died(self.reasons.pop(trial, ""), node)
            search.on_end(job.number, outcome)

    @contextlib.contextmanager
    def _driver(self) -> Iterator[Search]:
        try:
            with self.watched.held() as search:
                yield search
        except Exception as error:
            self.error = self.error or error


def timed_out(job: Job) -> Failed | None:
    """The outcome of a job whose last attempt exceeded its time limit; another attempt would do so again."""
    if job.seconds is None or not (where := time_limit.stack(job.timeout_log)):
        return None
    return Failed(str(TimedOut(job.seconds)), traceback=where[-6000:], train_seconds=job.seconds)
