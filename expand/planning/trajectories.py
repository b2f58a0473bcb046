"""Simulated trajectories of a search: which networks it may train, with made-up accuracies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from expand.core.errors import UsageError, unknown
from expand.core.space import Architecture
from expand.core.study import Costs, Study
from expand.core.trial import Cost, Metrics, Suggestion, Trial, TrialState
from expand.search.memory_check import CountCost
from expand.storage.plans import Videos
from expand.strategies.budget import affordable
from expand.strategies.stepwise import Stepwise

MOST_TRIALS = 5000  # a trajectory with more counts as endless


FIRST_TRIALS = 60  # simulated of a search that hours end, while the length of a training is unknown


@dataclass(frozen=True)
class Network:
    """A candidate of a trajectory and how often it is trained (once per seed); `over` is the limit that it exceeds, if any."""

    architecture: Architecture
    cost: Cost
    step: int
    label: str
    trainings: int
    epochs: int
    over: str = ""


@dataclass(frozen=True)
class Trajectory:
    """One simulated trajectory of a search."""

    name: str
    networks: tuple[Network, ...]

    @property
    def trained(self) -> tuple[Network, ...]:
        return tuple(network for network in self.networks if not network.over)

    @property
    def trainings(self) -> int:
        return sum(network.trainings for network in self.trained)


def simulated(
    study: Study, macs: Costs, cost: CountCost, *, wins: Sequence[str] = (), seconds: Seconds | None = None
) -> tuple[Trajectory, ...]:
    """The distinct simulated trajectories of a search.

    Args:
        wins: axes that win, step by step, in an additional trajectory.
        seconds: time of one training, for budgets in hours. Without it, a search that only hours end is simulated for its first
            `FIRST_TRIALS` trials.

    Raises:
        UsageError: from the strategy, or an axis in `wins` is not in the space.
    """
    if isinstance(study.strategy, Stepwise) and study.strategy.screen:  # what it leaves out depends on real accuracies
        study = replace(study, strategy=replace(study.strategy, screen=0.0))
    first = study.strategy.ask(study, (), macs)
    if not any(suggestion.kind in ("start", "expand") for suggestion in first):
        return (_simulate("as suggested", study, macs, cost, _cheapest, seconds),)
    axes = list(dict.fromkeys(axis for suggestion in first for axis in suggestion.axes))
    rules: dict[str, Choose] = {"cheapest wins": _cheapest, "most expensive wins": _most_expensive}
    rules |= {f"{axis} wins": _whenever(axis) for axis in axes}
    if wins:
        rules = {", ".join(wins): _in_turn(wins, [axis.name for axis in study.space.axes]), **rules}
    found = [_simulate(name, study, macs, cost, choose, seconds) for name, choose in rules.items()]
    distinct = {
        tuple(network.architecture for network in trajectory.networks): trajectory for trajectory in reversed(found)
    }
    return tuple(trajectory for trajectory in found if trajectory in distinct.values())


Choose = Callable[[int, Sequence[tuple[Suggestion, Cost]]], int]  # (step, candidates) -> the index of the winner


def _cheapest(step: int, candidates: Sequence[tuple[Suggestion, Cost]]) -> int:
    return min(range(len(candidates)), key=lambda index: candidates[index][1].macs)


def _most_expensive(step: int, candidates: Sequence[tuple[Suggestion, Cost]]) -> int:
    return max(range(len(candidates)), key=lambda index: candidates[index][1].macs)


def _whenever(axis: str) -> Choose:
    """Chooses this axis in each step that offers it, otherwise the candidate of median cost."""

    def choose(step: int, candidates: Sequence[tuple[Suggestion, Cost]]) -> int:
        offered = [index for index, (suggestion, _) in enumerate(candidates) if axis in suggestion.axes]
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


def _simulate(
    name: str, study: Study, macs: Costs, cost: CountCost, choose: Choose, seconds: Seconds | None
) -> Trajectory:  # fmt: skip
    """The trajectory in which `choose` picks the winner of each step."""
    trials: list[Trial] = []
    networks: dict[Architecture, Network] = {}
    while suggestions := affordable(study, trials, study.strategy.ask(study, trials, macs), macs)[0]:
        winners: set[Architecture] = set()
        steps: dict[int, dict[Architecture, Suggestion]] = {}
        costs = {suggestion.architecture: cost(suggestion.architecture) for suggestion in suggestions}
        limits = {architecture: over_limit(study, counted) for architecture, counted in costs.items()}
        for suggestion in suggestions:
            if not limits[suggestion.architecture]:
                steps.setdefault(suggestion.step, {})[suggestion.architecture] = suggestion
        for step, candidates in steps.items():
            offered = [(suggestion, costs[architecture]) for architecture, suggestion in candidates.items()]
            winners.add(offered[choose(step, offered)][0].architecture)
        for suggestion in suggestions:
            architecture = suggestion.architecture
            counted, over = costs[architecture], limits[architecture]
            state = TrialState.INFEASIBLE if over else TrialState.COMPLETE
            metrics = None if over else Metrics(float(architecture in winners), 1.0, 0.0, 1, 1)
            took = 0.0 if over or seconds is None else seconds(architecture, counted)
            trials.append(Trial(len(trials), state, suggestion, counted, metrics, train_seconds=took))
            earlier = networks.get(architecture)
            label = suggestion.name or "=".join(suggestion.axes) or suggestion.kind
            networks[architecture] = Network(
                architecture, counted, suggestion.step, earlier.label if earlier else label,
                (earlier.trainings if earlier else 0) + 1, suggestion.epochs, over,
            )  # fmt: skip
        if len(trials) >= FIRST_TRIALS and study.budget.hours is not None and seconds is None:
            break  # the budget in hours ends it at an unknown trial
        if len(trials) > MOST_TRIALS:
            raise UsageError(f"{study.name}: more than {MOST_TRIALS} trainings; set budget.trials")
    return Trajectory(name, tuple(networks.values()))


def over_limit(study: Study, cost: Cost) -> str:
    """The counted limit that a candidate exceeds, or ""; limits on measured costs cannot be checked yet."""
    from expand.storage.attributes import known_cost

    for objective in study.objectives:
        value = known_cost(objective, cost)
        if value is not None and objective.over(value):
            return f"{objective.name} {value:.4g}, the limit {objective.limit:g}"
    return ""


def clips_seen(study: Study, epochs: int, videos: Videos) -> tuple[int, int]:
    """Clips of one training, for training and for validation: one view after each epoch, all views after the last."""
    return epochs * study.recipe.clips_of_epoch(videos.training), (epochs - 1 + study.recipe.views) * videos.validation


Seconds = Callable[[Architecture, Cost], float]  # of one training of one network
