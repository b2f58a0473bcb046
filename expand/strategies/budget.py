"""Budgets in trials, epochs and hours: what of a strategy's wishes may begin. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence

from expand.core.space import Architecture
from expand.core.study import Study
from expand.core.trial import Suggestion, Trial, TrialState


def affordable(study: Study, trials: Sequence[Trial], wanted: Sequence[Suggestion]) -> tuple[list[Suggestion], str]:
    """The wishes that the study's budget allows, in their order, and a sentence where it ends the search.

    A network is begun only if all its seeds fit; one that has begun is finished. Candidates over a limit cost nothing.
    `hours` looks at what ended trials took, so it can be passed by what was under way.
    """
    budget = study.budget
    begun = {trial.architecture for trial in trials}
    spent = [trial for trial in trials if trial.state is not TrialState.INFEASIBLE]
    count, epochs = len(spent), sum(trial.suggestion.epochs for trial in spent)
    hours = sum(trial.train_seconds for trial in spent) / 3600
    groups: dict[Architecture, list[Suggestion]] = {}
    for suggestion in wanted:
        groups.setdefault(suggestion.architecture, []).append(suggestion)
    allowed: list[Suggestion] = []
    for architecture, group in groups.items():
        more = count + len(group), epochs + sum(suggestion.epochs for suggestion in group)
        over = [
            f"budget.{name}={limit:g}"
            for name, limit, reached in (
                ("trials", budget.trials, budget.trials is not None and more[0] > budget.trials),
                ("epochs", budget.epochs, budget.epochs is not None and more[1] > budget.epochs),
                ("hours", budget.hours, budget.hours is not None and hours >= budget.hours),
            )
            if reached
        ]
        if over and architecture not in begun:
            return allowed, f"{', '.join(over)} is used up after {len(spent) + len(allowed)} trials"
        count, epochs = more
        allowed += group
    return allowed, ""
