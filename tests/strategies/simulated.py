"""Runs without training, for tests of strategies: what is asked for is answered at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from expand.core.errors import UsageError
from expand.core.space import Architecture, SearchSpace
from expand.core.study import Study
from expand.core.trial import Cost, Metrics, Suggestion, Trial, TrialState
from expand.counting.cost import cost_of
from expand.strategies.budget import affordable

Outcome = Callable[[Suggestion], float | None]  # top-1, or None for a failure


@dataclass
class Counter:
    """Multiply-adds."""

    space: SearchSpace

    def __call__(self, architecture: Architecture) -> int:
        return cost_of(self.space, architecture, 101).macs


def free(architecture: Architecture) -> int:
    """For strategies that do not look at costs."""
    return 1_000_000


def ended(
    number: int,
    suggestion: Suggestion,
    top1: float | None = 0.5,
    *,
    state: TrialState | None = None,
    seconds: float = 0.0,
) -> Trial:
    metrics = None if top1 is None else Metrics(top1, 1.0, 1.0, 1000, 1)
    done = state or (TrialState.FAILED if top1 is None else TrialState.COMPLETE)
    return Trial(number, done, suggestion, Cost(1_000_000, 0, 0, 0, ()), metrics, train_seconds=seconds)


def simulate(
    study: Study,
    macs: Callable[[Architecture], int] = free,
    outcome: Outcome = lambda suggestion: 0.5,
    known: Sequence[Trial] = (),
    *,
    most: int = 5000,
    seconds: float = 0.0,
) -> list[Trial]:
    """All trials of a search, budgets held as the engine holds them; begun with those that are known."""
    trials = list(known)
    while wanted := affordable(study, trials, study.strategy.ask(study, trials, macs))[0]:
        assert len(trials) < most, "it does not end"
        trials += [ended(len(trials) + i, s, outcome(s), seconds=seconds) for i, s in enumerate(wanted)]
    return trials


def keeps_the_contract(study: Study, macs: Callable[[Architecture], int] = free, *, most: int = 5000) -> list[Trial]:
    """What every strategy must: the same question gets the same answer, nothing known is asked for, it ends, and a search
    that goes on from any of its trials asks for the rest. Returns the search's trials."""
    strategy = study.strategy
    trials = simulate(study, macs, most=most)
    asked = [(trial.architecture, trial.suggestion.seed) for trial in trials]
    assert len(set(asked)) == len(asked), "something is trained twice"
    assert strategy.ask(study, trials, macs) == strategy.ask(study, tuple(trials), macs)
    step = max(1, len(trials) // 8)
    for count in [*range(0, len(trials), step), len(trials)]:
        prefix = trials[:count]
        wanted = strategy.ask(study, prefix, macs)
        assert wanted == strategy.ask(study, prefix, macs), "another answer to the same question"
        assert not {(s.architecture, s.seed) for s in wanted} & set(asked[:count]), "it asks for what is known"
        assert prefix == trials[:count], "it changes the trials"
        resumed = simulate(study, macs, known=prefix, most=most)
        assert {(t.architecture, t.suggestion.seed) for t in resumed} == set(asked), (
            f"resumed after {count}: another search"
        )
        running = [ended(t.number, t.suggestion, None, state=TrialState.RUNNING) for t in prefix]
        again = {(s.architecture, s.seed) for s in strategy.ask(study, running, macs)}
        assert not again & set(asked[:count]), "it asks for what is running"
    return trials


def refused(study: Study) -> str:
    """What a study is refused with before anything is known."""
    try:
        study.strategy.ask(study, (), free)
    except UsageError as error:
        return str(error)
    return ""
