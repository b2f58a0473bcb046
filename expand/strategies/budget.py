"""Budgets in trials, epochs and hours: which suggestions may start. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence

from expand.core.space import Architecture
from expand.core.study import Study
from expand.core.trial import Suggestion, Trial, TrialState


def affordable(
    study: Study, trials: Sequence[Trial], suggestions: Sequence[Suggestion]
) -> tuple[list[Suggestion], str]:
    """The suggestions that the study's budget allows, in order, and why the budget ends the search ("" if it does not).

    A network starts only if all its seeds fit; one that has started is finished, before others start. Infeasible
    candidates cost nothing.
    `hours` counts finished trials, so running trials can exceed it.

    Examples:
        >>> from studies.mcx_split import study
        >>> from dataclasses import replace
        >>> from expand.core.study import Budget
        >>> one = replace(study("demo"), seeds=(0,), budget=Budget(epochs=3))
        >>> affordable(one, [], [Suggestion(one.space.start, epochs=4, seed=0)])
        ([], 'budget.epochs=3 is used up after 0 trials')
    """
    budget = study.budget
    started = {trial.architecture for trial in trials}
    spent = [trial for trial in trials if trial.state is not TrialState.INFEASIBLE]
    count, epochs = len(spent), sum(trial.suggestion.epochs for trial in spent)
    hours = sum(trial.train_seconds for trial in spent) / 3600
    groups: dict[Architecture, list[Suggestion]] = {}
    for suggestion in suggestions:
        groups.setdefault(suggestion.architecture, []).append(suggestion)
    allowed: list[Suggestion] = []
    for architecture, group in sorted(groups.items(), key=lambda item: item[0] not in started):
        more = count + len(group), epochs + sum(suggestion.epochs for suggestion in group)
        exceeded = [
            f"budget.{name}={limit:g}"
            for name, limit, reached in (
                ("trials", budget.trials, budget.trials is not None and more[0] > budget.trials),
                ("epochs", budget.epochs, budget.epochs is not None and more[1] > budget.epochs),
                ("hours", budget.hours, budget.hours is not None and hours >= budget.hours),
            )
            if reached
        ]
        if exceeded and architecture not in started:
            return allowed, f"{', '.join(exceeded)} is used up after {len(spent) + len(allowed)} trials"
        count, epochs = more
        allowed += group
    return allowed, ""
