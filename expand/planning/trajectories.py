"""Simulated trajectories of a search: which networks it may train, with made-up accuracies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from expand.core.errors import UsageError, unknown
from expand.core.space import Architecture
from expand.core.study import CountMacs, Study
from expand.core.trial import Cost, Metrics, Suggestion, Trial, TrialState
from expand.search.memory_check import CountCost
from expand.storage.plans import Videos
from expand.strategies.budget import affordable

MOST_TRIALS = 5000  # of one course, before it is taken for endless


FIRST_TRIALS = 60  # of a search that hours end, as long as nobody knows how long a training takes


@dataclass(frozen=True)
class Network:
    """A candidate of a course and how often it is trained (its seeds); `over` is the limit that keeps it from being trained."""

    architecture: Architecture
    cost: Cost
    step: int
    label: str
    trainings: int
    epochs: int
    over: str = ""


@dataclass(frozen=True)
class Course:
    """One way that the search may go."""

    name: str
    networks: tuple[Network, ...]

    @property
    def trained(self) -> tuple[Network, ...]:
        return tuple(network for network in self.networks if not network.over)

    @property
    def trainings(self) -> int:
        return sum(network.trainings for network in self.trained)


def courses(
    study: Study, macs: CountMacs, cost: CountCost, *, wins: Sequence[str] = (), seconds: Seconds | None = None
) -> tuple[Course, ...]:
    """The ways that a search may go, the distinct ones. `wins` names the axes that win, step by step, in a course of the
    reader's own. `seconds` is what a training takes, for budgets in hours; without it a sample that only hours would end
    is played for its first networks.

    Raises:
        UsageError: as the strategy's; an axis in `wins` that is not of the space.
    """
    first = study.strategy.ask(study, (), macs)
    if not any(wish.kind in ("start", "expand") for wish in first):
        return (_play("as asked for", study, macs, cost, _cheapest, seconds),)
    axes = list(dict.fromkeys(axis for wish in first for axis in wish.axes))
    rules: dict[str, Choose] = {"cheapest wins": _cheapest, "dearest wins": _dearest}
    rules |= {f"{axis} wins": _whenever(axis) for axis in axes}
    if wins:
        rules = {", ".join(wins): _in_turn(wins, [axis.name for axis in study.space.axes]), **rules}
    played = [_play(name, study, macs, cost, choose, seconds) for name, choose in rules.items()]
    distinct = {tuple(network.architecture for network in course.networks): course for course in reversed(played)}
    return tuple(course for course in played if course in distinct.values())


Choose = Callable[[int, Sequence[tuple[Suggestion, Cost]]], int]  # (step, candidates) -> the index of the winner


def _cheapest(step: int, candidates: Sequence[tuple[Suggestion, Cost]]) -> int:
    return min(range(len(candidates)), key=lambda index: candidates[index][1].macs)


def _dearest(step: int, candidates: Sequence[tuple[Suggestion, Cost]]) -> int:
    return max(range(len(candidates)), key=lambda index: candidates[index][1].macs)


def _whenever(axis: str) -> Choose:
    """This axis where it is on offer, else the candidate in the middle."""

    def choose(step: int, candidates: Sequence[tuple[Suggestion, Cost]]) -> int:
        offered = [index for index, (wish, _) in enumerate(candidates) if axis in wish.axes]
        order = sorted(range(len(candidates)), key=lambda index: candidates[index][1].macs)
        return offered[0] if offered else order[len(order) // 2]

    return choose


def _in_turn(wins: Sequence[str], known: Sequence[str]) -> Choose:
    for name in wins:
        if name not in known:
            raise unknown("axis in --wins", name, known)

    def choose(step: int, candidates: Sequence[tuple[Suggestion, Cost]]) -> int:
        if step > len(wins):
            return _cheapest(step, candidates)
        return _whenever(wins[step - 1])(step, candidates)

    return choose


def _play(
    name: str, study: Study, macs: CountMacs, cost: CountCost, choose: Choose, seconds: Seconds | None
) -> Course:  # fmt: skip
    """All candidates of a search in which `choose` names the winner of each step."""
    trials: list[Trial] = []
    networks: dict[Architecture, Network] = {}
    while wanted := affordable(study, trials, study.strategy.ask(study, trials, macs))[0]:
        winners: set[Architecture] = set()
        steps: dict[int, dict[Architecture, Suggestion]] = {}
        costs = {wish.architecture: cost(wish.architecture) for wish in wanted}
        limits = {architecture: over_limit(study, counted) for architecture, counted in costs.items()}
        for wish in wanted:
            if not limits[wish.architecture]:
                steps.setdefault(wish.step, {})[wish.architecture] = wish
        for step, wishes in steps.items():
            offered = [(wish, costs[architecture]) for architecture, wish in wishes.items()]
            winners.add(offered[choose(step, offered)][0].architecture)
        for wish in wanted:
            counted, over = costs[wish.architecture], limits[wish.architecture]
            state = TrialState.INFEASIBLE if over else TrialState.COMPLETE
            metrics = None if over else Metrics(float(wish.architecture in winners), 1.0, 0.0, 1, 1)
            took = 0.0 if over or seconds is None else seconds(wish.architecture, counted)
            trials.append(Trial(len(trials), state, wish, counted, metrics, train_seconds=took))
            earlier = networks.get(wish.architecture)
            label = wish.name or "=".join(wish.axes) or wish.kind
            networks[wish.architecture] = Network(
                wish.architecture, counted, wish.step, earlier.label if earlier else label,
                (earlier.trainings if earlier else 0) + 1, wish.epochs, over,
            )  # fmt: skip
        if len(trials) >= FIRST_TRIALS and study.budget.hours is not None and seconds is None:
            break  # the hours would end it somewhere here
        if len(trials) > MOST_TRIALS:
            raise UsageError(f"{study.name}: more than {MOST_TRIALS} trainings; set budget.trials")
    return Course(name, tuple(networks.values()))


def over_limit(study: Study, cost: Cost) -> str:
    """The counted limit that a candidate breaks, or nothing; what is measured is known to nobody yet."""
    from expand.storage.run_directory import known_cost

    for objective in study.objectives:
        value = known_cost(objective, cost)
        if value is not None and objective.over(value):
            return f"{objective.name} {value:.4g}, the limit {objective.limit:g}"
    return ""


def clips_seen(study: Study, epochs: int, videos: Videos) -> tuple[int, int]:
    """Clips that one training reads to learn from, and to validate with: one view after each epoch, all after the last."""
    return epochs * videos.training, (epochs - 1 + study.recipe.views) * videos.validation


Seconds = Callable[[Architecture, Cost], float]  # of one training of one network
