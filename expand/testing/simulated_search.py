"""A search without training: a strategy is asked, made-up results answer. For tests of strategies."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from expand.core.attempt import Epoch
from expand.core.space import Architecture
from expand.core.study import Costs, Study
from expand.core.trial import Cost, Metrics, Suggestion, Trial, TrialState
from expand.strategies.budget import affordable

Outcome = Callable[[Suggestion], float | TrialState]  # top-1, or how the trial ends without one
MOST_TRIALS = 5000


@dataclass(frozen=True)
class MadeUpCosts:
    """Costs from a function that counts multiply-adds; a network has as many parameters, and any score is their number unless
    `scores` says otherwise."""

    macs: Callable[[Architecture], int]
    scores: Callable[[Architecture], float] | None = None

    def __call__(self, architecture: Architecture) -> int:
        return self.macs(architecture)

    def cost(self, architecture: Architecture) -> Cost:
        return Cost(self.macs(architecture), self.macs(architecture), 0, 0, ())

    def score(self, name: str, architecture: Architecture) -> float:
        return float((self.scores or self.macs)(architecture))


free = MadeUpCosts(lambda architecture: 1_000_000)  # for strategies that do not look at costs


def made_up(share: float = 0.0, *, name: str = "") -> Outcome:
    """Accuracies by chance, the same for the same network and seed. Of the networks `share` are over a limit; of the other
    trials `share` fail and `share` are stopped early."""

    def outcome(suggestion: Suggestion) -> float | TrialState:
        network = random.Random(f"{name} {suggestion.architecture.to_json()}")
        if network.random() < share:
            return TrialState.INFEASIBLE
        training = random.Random(f"{name} {suggestion.architecture.to_json()} {suggestion.seed}")
        chance = training.random()
        if chance < 2 * share:
            return TrialState.FAILED if chance < share else TrialState.PRUNED
        return 0.1 + 0.6 * network.random() + 0.2 * training.random()

    return outcome


def opened(number: int, suggestion: Suggestion, macs: int = 1_000_000) -> Trial:
    """A trial that is training."""
    return Trial(number, TrialState.RUNNING, suggestion, Cost(macs, 0, 0, 0, ()))


def ended(trial: Trial, result: float | TrialState, *, clips: int = 1000, seconds: float = 0.0) -> Trial:
    """The trial as it is once it has ended or paused, `clips` of validation and `seconds` of training later. Top-1 rises evenly
    with the epochs."""
    if trial.suggestion.until == 0:
        return replace(trial, state=TrialState.PRUNED)
    if isinstance(result, TrialState):
        return replace(trial, state=result, metrics=None, train_seconds=seconds)
    last, epochs = trial.suggestion.last_epoch, trial.suggestion.epochs
    curve = tuple(Epoch(epoch, 1.0, result * epoch / epochs) for epoch in range(1, last + 1))
    if last < epochs:
        return replace(trial, state=TrialState.PAUSED, curve=curve, train_seconds=seconds)
    metrics = Metrics(result, 1.0, 1.0, clips, 1)
    return replace(trial, state=TrialState.COMPLETE, metrics=metrics, curve=curve, train_seconds=seconds)


def simulate(
    study: Study,
    macs: Costs = free,
    outcome: Outcome = lambda suggestion: 0.5,
    known: Sequence[Trial] = (),
    *,
    at_once: int = 1,
    order: int | None = None,
    seconds: float = 0.0,
    most: int = MOST_TRIALS,
) -> list[Trial]:
    """All trials of a search by their numbers, budgets held as the engine holds them.

    Args:
        known: trials to continue from; running ones are trained first.
        at_once: the strategy is asked again while up to this many trials, less one, are training.
        order: the seed of a random order in which trials end; None ends the longest open one first.

    Raises:
        AssertionError: a trial is asked for that is there already, or there are more than `most`.
    """
    generator = None if order is None else random.Random(order)
    trials = {trial.number: trial for trial in known}
    while True:
        open_ones = [number for number, trial in trials.items() if trial.state is TrialState.RUNNING]
        if len(open_ones) < at_once:
            known = list(trials.values())
            wanted, _ = affordable(study, known, study.strategy.ask(study, known, macs), macs)
            for suggestion in wanted:
                number = _begin(trials, suggestion, macs)
                open_ones.append(number)
            assert len(trials) <= most, f"it does not end: more than {most} trials"
            if wanted and len(open_ones) < at_once:
                continue  # it may want more at the same time
        if not open_ones:
            return list(trials.values())
        number = generator.choice(open_ones) if generator else open_ones[0]
        trials[number] = ended(trials[number], outcome(trials[number].suggestion), seconds=seconds)


def _begin(trials: dict[int, Trial], suggestion: Suggestion, macs: Costs) -> int:
    """Opens a trial, or lets a paused one go on; its number."""
    for trial in trials.values():
        if (trial.architecture, trial.suggestion.seed) == (suggestion.architecture, suggestion.seed):
            assert goes_on(trial, suggestion), (
                f"asked with {len(trials)} trials, it wants one of them again: {suggestion.architecture} seed {suggestion.seed}"
            )
            trials[trial.number] = replace(trial, state=TrialState.RUNNING, suggestion=suggestion)
            return trial.number
    number = len(trials)
    trials[number] = opened(number, suggestion, macs(suggestion.architecture))
    return number


def goes_on(trial: Trial, suggestion: Suggestion) -> bool:
    """Whether the suggestion lets this paused trial go on."""
    return trial.state is TrialState.PAUSED and suggestion.last_epoch > trial.reached
