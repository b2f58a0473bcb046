"""Ask, count, train, tell: the driver's side of a search."""

from __future__ import annotations

import contextlib
import shutil
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from expand.code import code_of
from expand.cost import cost_of
from expand.dashboard.presenter import Presenter
from expand.errors import ExpandError
from expand.evaluate import Job, count_starts
from expand.progress import Watcher
from expand.record import Record, known_cost
from expand.space import Architecture, SearchSpace
from expand.strategies.budget import affordable
from expand.study import Objective, Study
from expand.trial import Cost, Metrics, Suggestion, Trial, TrialState

MOST_STARTS = 12  # of one trial over all drivers, before it is taken for what kills them


@dataclass
class MacsCounter:
    """What a space's points cost: called, it answers multiply-adds, which growth is solved for. Remembered."""

    space: SearchSpace
    num_classes: int

    def __call__(self, architecture: Architecture) -> int:
        return self.cost(architecture).macs

    def cost(self, architecture: Architecture) -> Cost:
        return cost_of(self.space, architecture, self.num_classes)


@dataclass
class Search:
    """Workers take jobs from `next` and bring back what came of them; everything else is in the record.

    Args:
        caches: the folders of the training and the validation clips.
        lengths: frames of each training video, to say where clips are longer.
        threads: of one worker.
    """

    study: Study
    record: Record
    macs: MacsCounter
    caches: tuple[str, str]
    lengths: Sequence[int]
    threads: int
    watch: Watcher
    show: Presenter
    queue: list[int] = field(default_factory=list)
    running: set[int] = field(default_factory=set)
    _spent: bool = False  # said that the budget is used up
    _settled: bool = False  # asked since the last trial ended
    _looked_ahead: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Trials of a driver that is gone are taken up again, from their checkpoints."""
        self.record.set_finished(False)
        for trial in self.record.trials():
            if trial.state.ended:
                continue
            starts = count_starts(self.record.checkpoint(trial.number).parent)
            if starts >= MOST_STARTS:
                self._fail(trial.number, f"started {starts} times and never ended: it seems to kill whatever trains it")
            elif trial.cost.params == 0:
                self._fail(trial.number, trial.error or "it could not be built and counted")
            elif not self._ended_over_limit(trial.number, trial):
                self.queue.append(trial.number)
                self.watch.started(trial, resumed=True)

    def next(self) -> Job | None:
        """The next job; None when there is nothing to start until a running trial ends, or at all (`done`)."""
        if not self.queue and not self._settled:
            self._ask()
        while self.queue:
            number = self.queue.pop(0)
            if self._ended_over_limit(number, self.record.trial(number)):
                self._settled = False  # measured by another seed since it was queued
                continue
            self.running.add(number)
            return self._job(number)
        if not self._settled:
            return self.next()
        if self.running and self._looked_ahead != self.running:
            self._looked_ahead = set(self.running)
            self.look_ahead()
        return None

    @property
    def done(self) -> bool:
        return not self.queue and not self.running and self._settled

    def _ask(self) -> None:
        """Opens a trial for everything the strategy wants now."""
        self._settled = True
        opened = []
        trials = self.record.trials()
        wanted, spent = affordable(self.study, trials, self.study.strategy.ask(self.study, trials, self.macs))
        if spent and not self._spent:
            self._spent = True
            self.watch.note(spent)
        for suggestion in wanted:
            number = self._open(suggestion)
            if number is not None:
                opened.append(number)
            self._settled = False  # what was opened and ended at once may be all the strategy was waiting for
        if opened:
            self.show.refresh()
        self.queue += self._longest_first(opened)
        if not self.queue and not self._settled:
            self._ask()

    def look_ahead(self) -> None:
        """While workers start, or one waits for the last trials of a step: counts what will be asked for if none of these
        wins. The counts are remembered, so that training can start at once; nothing else comes of it."""
        known = [
            trial if trial.state.ended else replace(trial, state=TrialState.FAILED) for trial in self.record.trials()
        ]
        with contextlib.suppress(Exception):  # what is wrong is said when it is asked for in earnest
            for suggestion in self.study.strategy.ask(self.study, known, self.macs):
                self.macs.cost(suggestion.architecture)

    def _longest_first(self, numbers: list[int]) -> list[int]:
        """So that workers end a step together: by how long the last candidate along the same axis took, which also holds
        what no count tells, then by activations."""
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
        """Counts and records one suggestion; no number comes back if it ends right there."""
        space, clips = self.study.space, self.study.space.inputs(suggestion.architecture)
        try:
            cost = self.macs.cost(suggestion.architecture)
        except Exception as error:  # the candidate's own fault: it fails, the search goes on
            cost = Cost(0, 0, 0, 0, ())
            number = self.record.open_trial(suggestion, cost, space)
            self._fail(number, f"{type(error).__name__}: {error}", {"traceback": traceback.format_exc()[-6000:]})
            return None
        number = self.record.open_trial(suggestion, cost, space, code_of(space, suggestion.architecture))
        self.watch.started(self.record.trial(number))
        if self._ended_over_limit(number, self.record.trial(number)):
            return None
        self.show.opened(self.record.trial(number))
        span = max((clip.frames - 1) * clip.stride + 1 for clip in clips)
        short = sum(length < span for length in self.lengths)
        if short:
            self.watch.note(
                f"trial {number} reads {span} frames; {short} of {len(self.lengths)} training videos are shorter: "
                "their last frame is held"
            )
        return number

    def _ended_over_limit(self, number: int, trial: Trial) -> bool:
        """Records a candidate over a limit as infeasible, by its counts or by what a worker measured of the same network; it
        never sees a worker itself."""
        speed = self._speed(trial.architecture)
        for objective in self.study.objectives:
            value = known_cost(objective, trial.cost)
            if objective.name == "latency_ms" and speed is not None:
                value = speed["ms"]
            if value is not None and objective.over(value):
                self.record.infeasible(number, objective, value, {"speed": speed})
                self._ended(number)
                return True
        return False

    @property
    def _latency(self) -> Objective | None:
        """What the study wants of latency, if anything."""
        return next((objective for objective in self.study.objectives if objective.name == "latency_ms"), None)

    def _speed(self, architecture: Architecture) -> dict[str, Any] | None:
        """What was measured of a network, by whichever trial came first."""
        if self._latency is None:
            return None
        measured = (trial.extra.get("speed") for trial in self.record.trials() if trial.architecture == architecture)
        return next((speed for speed in measured if speed), None)

    def _fail(self, number: int, error: str, result: dict[str, Any] | None = None) -> None:
        self.record.fail(number, error, result)
        self._ended(number)

    def _ended(self, number: int) -> None:
        trial = self.record.trial(number)
        self.watch.ended(trial)
        self.show.ended(trial)

    def _job(self, number: int) -> Job:
        suggestion = self.record.trial(number).suggestion
        return Job(
            number, self.study.space, suggestion.architecture, self.study.recipe, suggestion.epochs, suggestion.seed,
            self.caches[0], self.caches[1], str(self.record.checkpoint(number)), str(self.record.weights(number)),
            self.threads, latency=self._latency, speed=self._speed(suggestion.architecture),
            mirrored=self.study.data.mirrored,
            seconds=None if (minutes := self.study.budget.minutes_per_trial) is None else 60 * minutes,
        )  # fmt: skip

    def on_epoch(self, number: int, entry: dict[str, Any]) -> None:
        """A worker finished an epoch."""
        curve = [old for old in self.record.trial(number).curve if old["epoch"] < entry["epoch"]]
        self.record.epoch(number, [*curve, {key: value for key, value in entry.items() if key != "attempts"}])
        self.watch.epoch(self.record.trial(number), entry)

    def on_end(self, number: int, result: dict[str, Any]) -> None:
        """A worker is through with a trial, one way or the other.

        Raises:
            ExpandError: no candidate could be trained where this one was; it stays to be taken up.
        """
        self._settled = False
        if result["status"] == "halt":
            raise ExpandError(f"{result['error']}: free some room and run the same command again")
        self.running.discard(number)
        self.show.ending(number, result.get("curve") or self.record.trial(number).curve)
        if result["status"] == "complete":
            self.record.complete(number, Metrics(**result["metrics"]), result)
        elif result["status"] == "infeasible" and self._latency is not None:
            self.record.infeasible(number, self._latency, result["speed"]["ms"], result)
        else:
            self.record.fail(number, result["error"], result)
        shutil.rmtree(self.record.checkpoint(number).parent, ignore_errors=True)  # told: no longer needed
        self._ended(number)
        self.show.refresh()

    def interrupted(self) -> None:
        """Marks what is in flight; the next run takes it up from its checkpoint."""
        for number in self.running:
            self.record.note(number, interrupted=True)
        self.show.refresh(now=True)
