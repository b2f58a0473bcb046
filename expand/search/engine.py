"""The driver's side of a search: asks the strategy, counts costs, hands out jobs, records results."""

from __future__ import annotations

import contextlib
import shutil
import traceback
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field, replace
from datetime import UTC, datetime
from typing import NoReturn

from expand.core.attempt import Attempt, EndedTry, Epoch, Speed
from expand.core.errors import ExpandError
from expand.core.outcome import Completed, Failed, Halted, Infeasible, Outcome, Paused, Retry
from expand.core.space import Architecture
from expand.core.study import Objective, Study
from expand.core.trial import Cost, Suggestion, Trial, TrialState
from expand.counting.cost import MacsCounter
from expand.monitoring.dashboard.presenter import Presenter
from expand.monitoring.progress import Watcher
from expand.search.chance import Chance, nothing_learned
from expand.search.faults import Verdict
from expand.search.inherited import start_of
from expand.search.job import Job, count_starts, fruitless_starts, log_return, stamp_of
from expand.search.prospect import Prospect
from expand.search.retries import Retries
from expand.source.fingerprint import code_of
from expand.storage.attributes import known_cost
from expand.storage.run_directory import Record
from expand.strategies.budget import affordable

MOST_STARTS = 12  # of one trial in a row, without a new checkpoint, before the search halts
MOST_BLAMED = 3  # trials in a row that fail by what may not be their fault, while no other trial makes progress
RETRIES_KEPT = 20  # failed tries of a trial that the record keeps


@dataclass
class Search:
    """A running search. Workers take jobs from `next` and return outcomes; everything else is in the record.

    Args:
        caches: the folders of the training and the validation clips.
        lengths: frames of each training video, to report videos shorter than a clip.
        threads: of one worker.
        chance: what guessing scores. The search halts once its networks are no better; None lets it go on.
        at_once: how many trials may run in parallel.
        retry_failed: whether failed trials are opened again.
    """

    study: Study
    record: Record
    macs: MacsCounter
    caches: tuple[str, str]
    lengths: Sequence[int]
    threads: int
    watch: Watcher
    show: Presenter
    chance: Chance | None = None
    at_once: InitVar[int] = 1
    retry_failed: InitVar[bool] = False
    queue: list[int] = field(default_factory=list)
    running: set[int] = field(default_factory=set)
    retries: Retries = field(init=False)
    _said: set[str] = field(default_factory=set)  # notes of trials
    _spent: bool = False  # whether it was reported that the budget is used up
    _settled: bool = False  # whether the strategy was asked since the last trial ended
    _looked_ahead: set[int] = field(default_factory=set)
    prospect: Prospect = field(init=False)

    def __post_init__(self, at_once: int, retry_failed: bool) -> None:
        """Resumes the trials of an earlier driver from their checkpoints."""
        self.retries = Retries(self.study.budget.attempts, at_once)
        self.prospect = Prospect(self.study, self.macs, self.macs.cost, at_once)
        self.prospect.decided(self.record.trials(), over=self.record.finished)  # reported by an earlier driver
        if retry_failed:
            self._reopen_failed()
        ended: list[int] = []  # with their process, at every start
        for trial in self.record.trials():
            if trial.state is not TrialState.RUNNING:
                continue
            if (starts := fruitless_starts(self.record.checkpoint(trial.number))) >= MOST_STARTS:
                ended.append(trial.number)
                self._fail(
                    trial.number,
                    f"its process ended {starts} times in a row before a new checkpoint (--retry-failed trains it again)",
                )
            elif trial.cost.params == 0:
                self._fail(trial.number, trial.error or "it could not be built and counted")
            elif not self._ended_untrained(trial.number):
                self.queue.append(trial.number)
                self.watch.started(trial, resumed=True)
        if ended:  # a kill from outside leaves the same traces as memory that runs out
            raise ExpandError(
                f"trial {', '.join(map(str, ended))}: the process that trained it ended {MOST_STARTS} times in a row before a "
                "new checkpoint; it is marked as failed. If something else ended the process (a kill, a limit shorter than "
                "an epoch), repair that and add --retry-failed to the same command; if the candidate does (memory, a crash), the "
                "same command resumes without it"
            )

    def _reopen_failed(self) -> None:
        """Opens failed trials again, except those whose cost could not be counted, because counting would fail again."""
        failed = [trial for trial in self.record.trials() if trial.state is TrialState.FAILED]
        for trial in failed:
            if trial.cost.params:
                self.record.reopen(trial.number)
                log_return(self.record.checkpoint(trial.number))  # its starts count anew
                self._keep_retry(trial, EndedTry(_now(), len(trial.curve), "failed", trial.error, trial.traceback))

    def next(self) -> Job | None:
        """The next job. None if nothing can start now, because a running trial must end or a failed one must wait, or if the
        search has ended (`done`)."""
        if self._may_ask:
            self._ask()
        while (number := self.retries.startable(self.queue, len(self.running))) is not None:
            self.queue.remove(number)
            if self._ended_untrained(number):
                self._settled = False  # measured by another seed since it was queued
                continue
            self.running.add(number)
            self.watch.placed(number, training=True)
            self.retries.started(number)
            return self._job(number)
        if self._may_ask:
            return self.next()
        if self.running and self._looked_ahead != self.running:
            self._looked_ahead = set(self.running)
            self.look_ahead()
        return None

    @property
    def _may_ask(self) -> bool:
        """Whether a worker is free for what the strategy suggests next. Asked earlier, it would know less."""
        free = len(self.running) < self.retries.at_once
        return free and not self._settled and not self.retries.waiting(self.queue)

    def put_back(self, number: int) -> None:
        """Puts back a job from `next` that cannot be placed now."""
        self.running.discard(number)
        self.retries.put_back(number)
        self.queue.append(number)
        self.watch.placed(number, training=False)

    @property
    def done(self) -> bool:
        return not self.queue and not self.running and self._settled

    def _ask(self) -> None:
        """Opens a trial for each suggestion of the strategy."""
        self._settled = True
        opened = []
        trials = self.record.trials()
        asked = self.study.strategy.ask(self.study, trials, self.macs)
        wanted, spent = affordable(self.study, trials, asked, self.macs)
        if spent and not self._spent:
            self._spent = True
            self.watch.note(spent)
        if self.chance and (wanted or self.queue) and (why := nothing_learned(trials, self.chance)):
            self.interrupted()
            raise ExpandError(f"{why}. The same command with --force goes on as it is")
        paused = {trial.suggestion.key: trial for trial in trials if trial.state is TrialState.PAUSED}
        for suggestion in wanted:
            before = paused.get(suggestion.key)
            number = self._open(suggestion) if before is None else self._go_on(before.number, suggestion)
            if number is not None:
                opened.append(number)
            self._settled = False  # a trial that ended immediately may be what the strategy was waiting for
        if opened:
            self.show.refresh()
            self.watch.outlook(self.prospect.outlook(self.record.trials()))
        self.queue += self._longest_first(opened)
        if not self.queue and not self._settled:
            return self._ask()  # only then is it known whether the step goes on
        for line in self.prospect.decided(self.record.trials(), over=not (opened or self.queue or self.running)):
            self.watch.note(line)

    def _go_on(self, number: int, suggestion: Suggestion) -> int:  # a paused trial, up to its next stop
        self.record.go_on(number, suggestion)
        self.watch.started(self.record.trial(number), resumed=True)
        return number

    def end(self) -> None:
        """The strategy has nothing more to suggest: what is paused ends."""
        for trial in self.record.trials():
            if trial.state is TrialState.PAUSED:
                self.record.prune(trial.number)
                shutil.rmtree(self.record.checkpoint(trial.number).parent, ignore_errors=True)
                self.show.ended(self.record.trial(trial.number))
        self.record.set_finished(True)

    def look_ahead(self) -> None:
        """Counts the costs of the next step's candidates, as if none of the running trials wins, while workers start or wait for
        the last trials of a step. The counts are cached, so that training can start immediately; nothing else changes."""
        trials = self.record.trials()
        if any(trial.suggestion.seen is not None for trial in trials):
            return  # a strategy that learns counts all its networks beforehand
        known = [trial if trial.state.ended else replace(trial, state=TrialState.FAILED) for trial in trials]
        with contextlib.suppress(Exception):  # an error is reported when the strategy is really asked
            for suggestion in self.study.strategy.ask(self.study, known, self.macs):
                self.macs.cost(suggestion.architecture)

    def _longest_first(self, numbers: list[int]) -> list[int]:
        """The order of the queue, longest first, so that workers end a step together: by the time of the last candidate along the
        same axis, which also includes effects that no count shows, then by activations."""
        trials = {trial.number: trial for trial in self.record.trials()}
        took = {
            axis: trial.train_seconds
            for trial in trials.values()
            for axis in trial.suggestion.axes
            if trial.train_seconds
        }

        def length(number: int) -> tuple[float, int]:
            axes = trials[number].suggestion.axes
            return max((took.get(axis, 0.0) for axis in axes), default=0.0), trials[number].cost.activations

        return sorted(numbers, key=length, reverse=True)

    def _open(self, suggestion: Suggestion) -> int | None:
        """Counts and records one suggestion; returns None if the trial ended immediately."""
        space, clips = self.study.space, self.study.space.inputs(suggestion.architecture)
        try:
            cost = self.macs.cost(suggestion.architecture)
        except Exception as error:  # the candidate's own fault: it fails, the search continues
            cost = Cost(0, 0, 0, 0, ())
            number = self.record.open_trial(suggestion, cost, space)
            self._fail(number, f"{type(error).__name__}: {error}", traceback.format_exc()[-6000:])
            return None
        number = self.record.open_trial(suggestion, cost, space, code_of(space, suggestion.architecture))
        self.watch.started(self.record.trial(number))
        if self._ended_untrained(number):
            return None
        self.show.opened(self.record.trial(number))
        span = max((clip.frames - 1) * clip.stride + 1 for clip in clips)
        short = sum(length < span for length in self.lengths)
        if short:
            self.watch.note(
                f"trial {number} reads {span} frames; {short} of {len(self.lengths)} training videos are shorter "
                "and are padded by repeating their last frame"
            )
        return number

    def _ended_untrained(self, number: int) -> bool:
        """Ends a candidate that no worker gets: infeasible, because it exceeds a limit by its counts or by an earlier measurement
        of the same network, or pruned, because the strategy only predicts it."""
        trial = self.record.trial(number)
        if trial.suggestion.until == 0:
            self.record.prune(number)
            self._ended(number)
            return True
        speed = self._speed(trial.architecture)
        for objective in self.study.objectives:
            value = known_cost(objective, trial.cost)
            if objective.name == "latency_ms" and speed is not None:
                value = speed.ms
            if value is not None and objective.over(value):
                self.record.infeasible(number, objective, value, Attempt(speed=speed))
                self._ended(number)
                return True
        return False

    @property
    def _latency(self) -> Objective | None:
        return next((objective for objective in self.study.objectives if objective.name == "latency_ms"), None)

    def _speed(self, architecture: Architecture) -> Speed | None:
        """The measured latency of a network, from its first trial."""
        if self._latency is None:
            return None
        network, trials = self.study.space.network_of, self.record.trials()
        measured = (each.attempt.speed for each in trials if network(each.architecture) == network(architecture))
        return next((speed for speed in measured if speed), None)

    def _fail(self, number: int, error: str, traceback: str = "") -> None:
        self.record.fail(number, Failed(error, traceback=traceback))
        self._ended(number)

    def _ended(self, number: int) -> None:
        trial, trials = self.record.trial(number), self.record.trials()
        self.watch.outlook(self.prospect.outlook(trials))
        self.watch.ended(trial)
        self.show.ended(trial)

    def _job(self, number: int) -> Job:
        suggestion = self.record.trial(number).suggestion
        recipe, parent = start_of(suggestion, self.study.recipe_of(suggestion.architecture), self.record)
        return Job(
            number, self.study.space, suggestion.architecture, recipe, suggestion.epochs, suggestion.seed,
            self.caches[0], self.caches[1], str(self.record.checkpoint(number)), str(self.record.weights(number)),
            self.threads, latency=self._latency, speed=self._speed(suggestion.architecture),
            mirrored=self.study.data.mirrored,
            seconds=None if (minutes := self.study.budget.minutes_per_trial) is None else 60 * minutes,
            avoid=self.retries.nodes(number), until=suggestion.until, parent=parent,
        )  # fmt: skip

    def on_epoch(self, number: int, entry: Epoch) -> None:
        if self.retries.on_epoch(number):
            self.record.note(number, error="")
        curve = [old for old in self.record.trial(number).curve if old.epoch < entry.epoch]
        self.record.epoch(number, [*curve, entry])
        if self.prospect.due():
            self.watch.outlook(self.prospect.outlook(self.record.trials()))
        self.watch.epoch(self.record.trial(number), entry)

    def on_end(self, number: int, outcome: Outcome) -> None:
        """A worker has finished a trial, with any outcome.

        Raises:
            ExpandError: no candidate can be trained there; the trial stays open to be resumed.
        """
        self._settled = False
        if isinstance(outcome, Halted):
            raise ExpandError(f"{outcome.error}: free disk space and run the same command again")
        self.running.discard(number)
        if isinstance(outcome, Retry):
            failed = self._judged(number, outcome)
            if failed is None:
                self.watch.placed(number, training=False)
                return
            outcome = failed
        self.retries.ended(number)
        self.retries.forget(number)
        for note in outcome.attempt.notes:
            if note not in self._said:
                self._said.add(note)
                self.watch.note(f"trial {number}: {note}")
        self._end(number, outcome)
        if not isinstance(outcome, Paused):
            shutil.rmtree(self.record.checkpoint(number).parent, ignore_errors=True)  # recorded, so no longer needed
        self._ended(number)
        self.show.refresh()

    def _end(self, number: int, outcome: Completed | Paused | Failed | Infeasible) -> None:
        curve = () if isinstance(outcome, Infeasible) else outcome.curve
        self.show.ending(number, curve or self.record.trial(number).curve)
        match outcome:
            case Completed():
                self.record.complete(number, outcome)
            case Paused():
                self.record.pause(number, outcome)
            case Failed():
                self.record.fail(number, outcome)
            case Infeasible(attempt):
                assert self._latency is not None and attempt.speed is not None, "measured for this objective"
                self.record.infeasible(number, self._latency, attempt.speed.ms, attempt)

    def _judged(self, number: int, outcome: Retry) -> Failed | None:
        """Puts a trial that may not be at fault back into the queue, or fails it if it is.

        Raises:
            ExpandError: nothing can be trained at the moment; the trial stays open to be resumed.
        """
        trial, checkpoint = self.record.trial(number), self.record.checkpoint(number)
        what, often = self.retries.judged(number, outcome, stamp_of(checkpoint))
        self._keep_retry(
            trial,
            EndedTry(_now(), len(trial.curve), outcome.fault, outcome.error, outcome.traceback, outcome.attempt.node),
        )
        if what is Verdict.HALT:
            self._halt(number, f"trial {number} could not be trained, nor could any other meanwhile ({outcome.error})")
        if what is Verdict.FAIL and self.retries.failed_in_a_row + 1 >= MOST_BLAMED:
            self._halt(
                number, f"{MOST_BLAMED} trials in a row, and no other in between, could not be trained; the last is trial "
                f"{number} ({outcome.error}). If that is not their fault, --retry-failed opens those again that have failed",
            )  # fmt: skip
        self.retries.ended(number)
        if what is Verdict.FAIL:
            self.retries.failed(number)
            attempt = replace(outcome.attempt, attempts=count_starts(checkpoint))
            return Failed(f"{outcome.error} ({often})", attempt, outcome.traceback, outcome.train_seconds)
        self.queue.append(number)
        again, *more = self.retries.try_again(number, outcome.fault, what, len(self.running))
        for line in (f"trial {number}: {outcome.error}; {again}", *more):
            self.watch.note(line)
        return None

    def _keep_retry(self, trial: Trial, ended: EndedTry) -> None:
        self.record.retried(trial.number, [*trial.retries, ended][-RETRIES_KEPT:])

    def _halt(self, number: int, why: str) -> NoReturn:
        self.running.add(number)
        self.interrupted()
        raise ExpandError(f"{why}. Repair the cause, then run the same command again to resume")

    def interrupted(self) -> None:
        """Marks running trials; the next run resumes them from their checkpoints."""
        for number in self.running:
            log_return(self.record.checkpoint(number))
            self.record.note(number, interrupted=True)
        self.show.refresh(now=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
