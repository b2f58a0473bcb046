"""Budgets in trials, epochs, hours and multiply-adds: which suggestions may start. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from expand.core.space import Architecture
from expand.core.study import Study
from expand.core.trial import Suggestion, Trial, TrialState
from expand.strategies.inherited import from_scratch

MacsOf = Callable[[Architecture], int]


@dataclass(frozen=True)
class Spending:
    """What trials have spent or will have spent once those that train have reached their next stop."""

    trials: int = 0
    epochs: int = 0
    hours: float = 0.0
    gmac_epochs: float = 0.0

    @staticmethod
    def of(trials: Sequence[Trial]) -> Spending:
        """What was never to be trained costs nothing. Hours count finished trials, so that running ones can exceed them."""
        spent = [trial for trial in trials if trial.state is not TrialState.INFEASIBLE and trial.suggestion.until != 0]
        epochs = [_epochs(trial) for trial in spent]
        return Spending(
            len(spent),
            sum(epochs),
            sum(trial.train_seconds for trial in spent) / 3600,
            sum(trial.cost.gmacs * count for trial, count in zip(spent, epochs, strict=True)),
        )

    def plus(self, trials: int, epochs: int, gmacs: float) -> Spending:
        """With so many more trials, and epochs of a network of these multiply-adds."""
        return Spending(self.trials + trials, self.epochs + epochs, self.hours, self.gmac_epochs + epochs * gmacs)

    def over(self, study: Study) -> list[str]:
        """The budgets that this exceeds, as they are written."""
        budget = study.budget
        found = []
        for name, limit, reached in (
            ("trials", budget.trials, self.trials),
            ("epochs", budget.epochs, self.epochs),
            ("gmac_epochs", budget.gmac_epochs, self.gmac_epochs),
        ):
            if limit is not None and reached > limit * (1 + 1e-9):
                found.append(f"budget.{name}={limit:g}")
        if budget.hours is not None and self.hours >= budget.hours:
            found.append(f"budget.hours={budget.hours:g}")
        return found


def _epochs(trial: Trial) -> int:
    """Epochs that are paid for: up to where it stops while it trains, all that its schedule has where it failed."""
    if trial.state in (TrialState.PAUSED, TrialState.PRUNED) and trial.curve:
        return trial.reached
    return trial.suggestion.last_epoch


def affordable(
    study: Study, trials: Sequence[Trial], suggestions: Sequence[Suggestion], macs: MacsOf | None = None
) -> tuple[list[Suggestion], str]:
    """The suggestions that the study's budget allows, in order, and why the budget ends the search ("" if it does not).

    A network starts only if all its seeds fit; one that has started is finished, before others start.

    Args:
        macs: multiply-adds of a network; needed only with `budget.gmac_epochs`.

    Examples:
        >>> from studies.mcx_split import study
        >>> from dataclasses import replace
        >>> from expand.core.study import Budget
        >>> one = replace(study("demo"), seeds=(0,), budget=Budget(epochs=3))
        >>> affordable(one, [], [Suggestion(one.space.start, epochs=4, seed=0)])
        ([], 'budget.epochs=3 is used up after 0 trials')
    """
    trials = from_scratch(trials)  # what is grown afterwards is not the search's
    started = {trial.architecture for trial in trials if trial.state is not TrialState.PAUSED}
    reached = {(trial.architecture, trial.suggestion.seed): trial.reached for trial in trials}
    spent = Spending.of(trials)
    groups: dict[Architecture, list[Suggestion]] = {}
    for suggestion in suggestions:
        groups.setdefault(suggestion.architecture, []).append(suggestion)
    allowed: list[Suggestion] = []
    for architecture, group in sorted(groups.items(), key=lambda item: item[0] not in started):
        before = [reached.get((architecture, suggestion.seed)) for suggestion in group]
        epochs = sum(each.last_epoch - (done or 0) for each, done in zip(group, before, strict=True))
        gmacs = macs(architecture) / 1e9 if macs and study.budget.gmac_epochs is not None else 0.0
        new = sum(done is None and each.until != 0 for each, done in zip(group, before, strict=True))
        more = spent.plus(new, epochs, gmacs)
        exceeded = more.over(study)
        if exceeded and architecture not in started:
            return allowed, f"{', '.join(exceeded)} is used up after {spent.trials} trials"
        spent = more
        allowed += group
    return allowed, ""
