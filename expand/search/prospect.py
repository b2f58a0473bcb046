"""Estimates the rest of a search and reports its decisions, for the progress lines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from expand.core.space import Architecture
from expand.core.study import Costs, Study
from expand.core.trial import Metrics, Trial, TrialState
from expand.monitoring.progress import Outlook
from expand.search.memory_check import CountCost
from expand.storage.attributes import known_cost
from expand.strategies.budget import Spending, affordable
from expand.strategies.ledger import ledger

MOST_AHEAD = 2000  # trials that are simulated before a search counts as endless
PATIENCE = 1.0  # seconds that a simulation may take
EPOCH_LOOKS = 20.0  # seconds between two estimates while no trial ends

Seconds = Callable[[Trial], float]  # of one whole training
Key = tuple[Architecture, int, int | None]  # `Suggestion.key`


@dataclass
class Prospect:
    """Simulates the rest of the search with the strategy itself, as if every trial completes and the cheapest candidate wins."""

    study: Study
    macs: Costs
    cost: CountCost
    at_once: int
    _coming: dict[Key, Trial] | None = field(default_factory=dict)  # None: cannot be simulated
    _decided: set[tuple[int, str]] = field(default_factory=set)
    _looked: float = -math.inf

    def outlook(self, trials: Sequence[Trial]) -> Outlook:
        """The estimated total of trials and the time left, from the trials so far."""
        self._looked = time.monotonic()
        seconds = seconds_of(trials)
        ended = sum(trial.state.ended for trial in trials)
        hours = self.study.budget.hours
        if hours is not None:  # the number of trials is unknown if hours end the search
            unspent = 3600 * hours - sum(trial.train_seconds for trial in trials)
            return Outlook(ended, None, False, max(unspent, 0.0) / self.at_once)
        if any(trial.suggestion.seen is not None for trial in trials):
            return self._by_budget(trials, ended)
        self._count(trials)
        if self._coming is None:
            return Outlook(ended, None, False, None)
        known = {trial.suggestion.key for trial in trials}
        rest = [trial for key, trial in self._coming.items() if key not in known]
        left = None
        if seconds is not None:
            open_trials = [trial for trial in trials if not trial.state.ended]
            left = sum(_rest_of(trial, seconds) for trial in (*open_trials, *rest)) / self.at_once
        stepwise = any(trial.suggestion.kind in ("start", "expand") for trial in (*trials, *rest))
        return Outlook(ended, len(trials) + len(rest), not stepwise, left)

    def _by_budget(self, trials: Sequence[Trial], ended: int) -> Outlook:
        """A strategy that learns cannot be simulated; its budget ends it at the latest. The rest of the budget takes as long as
        what is spent has taken."""
        budget, spent = self.study.budget, Spending.of(trials)
        shares = [
            reached / limit
            for reached, limit in (
                (spent.trials, budget.trials), (spent.epochs, budget.epochs), (spent.gmac_epochs, budget.gmac_epochs),
            )
            if limit
        ]  # fmt: skip
        seconds, share = sum(trial.train_seconds for trial in trials), max(shares, default=0.0)
        left = seconds * (1 - min(share, 1.0)) / share / self.at_once if share and seconds else None
        return Outlook(ended, budget.trials, False, left)

    def due(self) -> bool:
        """Whether the last estimate is old enough for another one."""
        return time.monotonic() - self._looked >= EPOCH_LOOKS

    def decided(self, trials: Sequence[Trial], *, over: bool) -> list[str]:
        """A line for each step that was decided since the last call: all candidates have ended, and the strategy, which may ask
        for more seeds, has gone on to the next step or the search is `over`."""
        lines, steps = [], ledger(trials)
        last = max((step.step for step in steps), default=0)
        for step in steps:
            key = (step.step, step.kind)
            done = over or step.step < last
            if done and key not in self._decided and all(entry.state.ended for entry in step.entries):
                self._decided.add(key)
                if step.kind != "start":
                    lines.append(f"step {step.step} decided: {step.why}")
        return lines

    def _count(self, trials: Sequence[Trial]) -> None:
        """Simulates the rest of the search again if the strategy suggested something unexpected."""
        if self._coming is None or (self._coming and all(t.suggestion.key in self._coming for t in trials)):
            return
        try:
            played = self._played(trials)
        except Exception:  # reported when it is really suggested
            played = None
        self._coming = None if played is None else {t.suggestion.key: t for t in played}

    def _played(self, trials: Sequence[Trial]) -> list[Trial] | None:
        played = [trial if trial.state.ended else _completed(trial) for trial in trials]
        until = time.monotonic() + PATIENCE
        while wanted := affordable(
            self.study, played, self.study.strategy.ask(self.study, played, self.macs), self.macs
        )[0]:
            for suggestion in wanted:
                cost = self.cost(suggestion.architecture)
                values = [(objective, known_cost(objective, cost)) for objective in self.study.objectives]
                over = any(value is not None and objective.over(value) for objective, value in values)
                state = TrialState.INFEASIBLE if over else TrialState.COMPLETE
                trial = Trial(len(played), state, suggestion, cost)
                played.append(trial if over else _completed(trial))
            if len(played) > MOST_AHEAD or time.monotonic() > until:
                return None
        return played


def _completed(trial: Trial) -> Trial:
    """The trial as if it had been trained with accuracy 0, so that the cheapest candidate of a step is chosen."""
    return replace(trial, state=TrialState.COMPLETE, metrics=Metrics(0.0, 0.0, 0.0, 1, 1))


def _rest_of(trial: Trial, seconds: Seconds) -> float:
    return seconds(trial) * max(0.0, 1 - len(trial.curve) / max(trial.suggestion.epochs, 1))


def seconds_of(trials: Sequence[Trial]) -> Seconds | None:
    """A function for the time of a training, fitted to the trainings so far: seconds per epoch are a power of the multiply-adds,
    by least squares on logarithms, with an exponent from 0 to 1 (small networks take as long as somewhat larger ones). A network
    that exceeds a limit takes no time. None if no epoch has ended."""
    seen = [
        (math.log(trial.cost.macs), math.log(sum(entry.seconds for entry in trial.curve) / len(trial.curve)))
        for trial in trials
        if trial.curve and trial.cost.macs and sum(entry.seconds for entry in trial.curve) > 0
    ]
    if not seen:
        return None
    x, y = (sum(values) / len(seen) for values in zip(*seen, strict=True))
    spread = sum((a - x) ** 2 for a, _ in seen)
    slope = sum((a - x) * (b - y) for a, b in seen) / spread if spread else 1.0
    slope = min(max(slope, 0.0), 1.0)

    def seconds(trial: Trial) -> float:
        if trial.state is TrialState.INFEASIBLE or not trial.cost.macs:
            return 0.0
        return math.exp(y + slope * (math.log(trial.cost.macs) - x)) * trial.suggestion.epochs

    return seconds
