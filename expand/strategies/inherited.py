"""Trials that start from another trial's weights. They make good networks but no fair comparison, so nothing is decided by them.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from expand.core.study import Costs, SearchStrategy, Study
from expand.core.trial import Suggestion, Trial


def from_scratch(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that started from random weights, or from those of a file that all trials share."""
    return [trial for trial in trials if trial.suggestion.inherit is None]


def lineage(trial: Trial, trials: Sequence[Trial]) -> list[Trial]:
    """A trial with those whose weights it goes back to, the first ancestor first."""
    by_number = {each.number: each for each in trials}
    found = [trial]
    while (number := found[0].suggestion.inherit) is not None and number < found[0].number and number in by_number:
        found.insert(0, by_number[number])
    return found


@dataclass(frozen=True)
class FromScratch:
    """A strategy that knows only of trainings from scratch, so that no inherited weights ever decide a search."""

    strategy: SearchStrategy

    def ask(self, study: Study, trials: Sequence[Trial], macs: Costs) -> list[Suggestion]:
        return self.strategy.ask(study, from_scratch(trials), macs)


@dataclass(frozen=True)
class Grown:
    """Trains one network from a trial's weights: the strategy of `expand grow`."""

    suggestion: Suggestion

    def ask(self, study: Study, trials: Sequence[Trial], macs: Costs) -> list[Suggestion]:
        known = {trial.suggestion.key for trial in trials}
        return [] if self.suggestion.key in known else [self.suggestion]
