"""Ask, count, train, tell: the driver's side of a search."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from typing import Any

from expand.cost import count_cost, count_macs
from expand.evaluate import Job
from expand.progress import Watcher
from expand.record import Record, known_cost
from expand.space import Architecture
from expand.study import Objective, Study
from expand.trial import Cost, Metrics, Suggestion, TrialState


@dataclass
class Search:
    """Workers take jobs from `next` and bring back what came of them; everything else is in the record.

    Args:
        caches: the folders of the training and the validation clips.
        threads: of one worker.
    """

    study: Study
    record: Record
    num_classes: int
    caches: tuple[str, str]
    threads: int
    watch: Watcher
    queue: list[int] = field(default_factory=list)
    running: dict[int, float] = field(default_factory=dict)
    _macs: dict[Architecture, int] = field(default_factory=dict)
    _settled: bool = False  # asked since the last trial ended

    def __post_init__(self) -> None:
        """Trials of a driver that is gone are taken up again, from their checkpoints."""
        self.queue = [trial.number for trial in self.record.trials() if not trial.state.ended]
        for number in self.queue:
            self.watch.started(self.record.trial(number), resumed=True)

    def next(self) -> Job | None:
        """The next job; None when there is nothing to start until a running trial ends, or at all (`done`)."""
        if not self.queue and not self._settled:
            self._ask()
        if not self.queue:
            return None
        number = self.queue.pop(0)
        self.running[number] = time.perf_counter()
        return self._job(number)

    @property
    def done(self) -> bool:
        return not self.queue and not self.running and self._settled

    def _ask(self) -> None:
        """Opens a trial for everything the strategy wants now, the longest first, so that workers end a step together."""
        self._settled = True
        opened: list[tuple[int, int]] = []
        for suggestion in self.study.strategy.ask(self.study, self.record.trials(), self.macs):
            number, cost = self._open(suggestion)
            if number is not None:
                opened.append((-cost.activations, number))
            self._settled = False  # what was opened and ended at once may be all the strategy was waiting for
        self.queue += [number for _, number in sorted(opened)]
        if not self.queue and not self._settled:
            self._ask()

    def _open(self, suggestion: Suggestion) -> tuple[int | None, Cost]:
        """Counts and records one suggestion; no number comes back if it ends right there."""
        space = self.study.space
        try:
            cost = count_cost(
                space.build(suggestion.architecture, self.num_classes), space.inputs(suggestion.architecture)
            )
        except Exception as error:  # the candidate's own fault: it fails, the search goes on
            number = self.record.open_trial(suggestion, Cost(self.macs(suggestion.architecture), 0, 0, 0, ()), space)
            self.record.fail(number, f"{type(error).__name__}: {error}")
            self.watch.ended(self.record.trial(number))
            return None, Cost(0, 0, 0, 0, ())
        number = self.record.open_trial(suggestion, cost, space)
        self.watch.started(self.record.trial(number))
        over = self._over_limit(cost)
        if over is not None:
            self.record.infeasible(number, over, known_cost(over, cost))
            self.watch.ended(self.record.trial(number))
            return None, cost
        return number, cost

    def _over_limit(self, cost: Cost) -> Objective | None:
        for objective in self.study.objectives:
            if objective.known_before_training and objective.limit is not None:
                value = known_cost(objective, cost)
                if value > objective.limit if objective.direction == "minimize" else value < objective.limit:
                    return objective
        return None

    def macs(self, architecture: Architecture) -> int:
        """Multiply-adds of a candidate, for solving; remembered."""
        if architecture not in self._macs:
            space = self.study.space
            self._macs[architecture] = count_macs(
                lambda: space.build(architecture, self.num_classes), space.inputs(architecture)
            )
        return self._macs[architecture]

    def _job(self, number: int) -> Job:
        suggestion = self.record.trial(number).suggestion
        return Job(
            number, self.study.space, suggestion.architecture, self.study.recipe, suggestion.epochs, suggestion.seed,
            self.caches[0], self.caches[1], str(self.record.checkpoint(number)), str(self.record.weights(number)),
            self.threads,
        )  # fmt: skip

    def on_epoch(self, number: int, entry: dict[str, Any]) -> None:
        """A worker finished an epoch."""
        curve = [old for old in self.record.trial(number).curve if old["epoch"] < entry["epoch"]]
        self.record.epoch(number, [*curve, {key: value for key, value in entry.items() if key != "attempts"}])
        self.watch.epoch(self.record.trial(number), entry)

    def on_end(self, number: int, result: dict[str, Any]) -> None:
        """A worker is through with a trial, one way or the other."""
        self.running.pop(number, None)
        self._settled = False
        if result["status"] == "complete":
            self.record.complete(number, Metrics(**result["metrics"]), result)
        else:
            self.record.fail(number, result["error"], result)
        shutil.rmtree(self.record.checkpoint(number).parent, ignore_errors=True)  # told: no longer needed
        trial = self.record.trial(number)
        assert trial.state is not TrialState.RUNNING
        self.watch.ended(trial)

    def interrupted(self) -> None:
        """Marks what is in flight; the next run takes it up from its checkpoint."""
        for number in self.running:
            self.record.note(number, interrupted=True)
