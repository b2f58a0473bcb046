"""`expand grow`: from the options to the one network that is trained from a trial's weights, and the lines printed before."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from expand.cli.listing import parse_values
from expand.core.accuracy import in_percent
from expand.core.errors import UsageError
from expand.core.space import Architecture, SearchSpace
from expand.core.study import Study
from expand.core.trial import Suggestion, Trial, TrialState
from expand.core.units import format_macs
from expand.counting.cost import MacsCounter
from expand.storage.attributes import known_cost
from expand.storage.run_directory import Record
from expand.storage.stored_study import study_of
from expand.strategies.grid import nearest
from expand.strategies.inherited import from_scratch
from expand.weights.grow import plan_growth

FACTOR = 2.0  # a step along an axis multiplies the cost by about this


@dataclass(frozen=True)
class Target:
    """Which larger network: one step along an axis, a named point, or values that replace the parent's."""

    axis: str | None = None
    point: str | None = None
    values: tuple[str, ...] = ()

    def architecture(self, space: SearchSpace, parent: Architecture, macs: MacsCounter) -> Architecture:
        """The larger network.

        Raises:
            UsageError: not exactly one of the three is given; there is no such axis, point or value; the axis is at its end.
        """
        if sum(map(bool, (self.axis, self.point, self.values))) != 1:
            raise UsageError("say how the network grows: --axis NAME, --point NAME, or NAME=VALUE such as depth=2.2")
        if self.axis is not None:
            return _step(space, parent, self.axis, macs)
        if self.point is not None:
            return space.point(self.point, **space.recipe_of(parent))
        return space.architecture(**(parent.as_dict() | parse_values(self.values)))


def _step(space: SearchSpace, parent: Architecture, name: str, macs: MacsCounter) -> Architecture:
    """The network along one axis whose cost is nearest to twice the parent's; on an axis of choices the next one."""
    axis = space.axis(name)
    if name in space.recipe_of(parent):
        raise UsageError(f"--axis {name}: it is the recipe's; networks grow along their own axes")
    if axis.choices:
        larger = space.larger(parent, axis)
        found = larger[0] if larger else parent
    else:
        found = nearest(space, parent, axis, FACTOR * macs(parent), macs)
    if found == parent:
        raise UsageError(f"{name} of {parent} is at its end; give another --axis, or values")
    return found


@dataclass(frozen=True)
class Order:
    """What is trained, and how it is to be announced."""

    suggestion: Suggestion
    study: Study
    lines: tuple[str, ...]


def order(
    record: Record, number: int, target: Target, *, epochs: int | None, seed: int | None, trust: bool, again: bool
) -> Order:
    """The training that starts from the weights of trial `number`.

    Args:
        again: train it again if it has failed.

    Raises:
        UsageError: the trial or its weights are missing, the search still trains, or the larger network cannot inherit, exceeds a
            limit of the run, or was trained otherwise already.
    """
    parent = _parent(record, number)
    study = study_of(record, [parent], trust=trust)
    classes = len(record.facts.data.classes)
    macs = MacsCounter(study.space, classes)
    child = target.architecture(study.space, parent.architecture, macs)
    growth = plan_growth(study.space, parent.architecture, child, classes)
    cost = macs.cost(child)
    for objective in study.objectives:
        value = known_cost(objective, cost)
        if value is not None and objective.over(value):
            raise UsageError(
                f"{child} exceeds the run's limit: {objective.name} is {value:.4g}, the limit {objective.limit:g}"
            )
    same = parent.suggestion.seed if seed is None else seed
    before = next((t for t in record.trials() if t.suggestion.key == (child, same, number)), None)
    epochs = _epochs(before, epochs, -(-study.recipe.epochs // 2), again=again)
    change, ratio = parent.architecture.changes(child), cost.macs / parent.cost.macs
    suggestion = Suggestion(
        child, epochs, same, parent.suggestion.step + 1, (target.axis,) if target.axis else (), number, "grown",
        f"from the weights of trial {number}, {change}, cost x{ratio:.3f}; {growth}", inherit=number,
    )  # fmt: skip
    score = f", top-1 {in_percent(parent.metrics.top1, parent.metrics.standard_error)}" if parent.metrics else ""
    return Order(suggestion, study, (
        f"parent      trial {number}: {format_macs(parent.cost.macs)}MACs per clip{score}",
        f"grown       {change}: {format_macs(cost.macs)}MACs per clip, x{ratio:.2f}",
        f"weights     {growth}",
        f"training    {epochs} epochs, seed {same}; a whole schedule of its own, half an epoch of warm-up",
    ))  # fmt: skip


def _parent(record: Record, number: int) -> Trial:
    """The trial to grow, of a run that trains nothing else at the moment."""
    parent, trials = record.trial(number), record.trials()
    if parent.state is not TrialState.COMPLETE:
        raise UsageError(
            f"trial {number} of {record.folder} is {parent.state.value}: name one that is complete "
            f"(`expand status {shlex.quote(str(record.folder))}`)"
        )
    if not record.weights(number).is_file():
        raise UsageError(f"trial {number} has no weights to start from: {record.weights(number)} is missing")
    if waiting := [trial.number for trial in from_scratch(trials) if not trial.state.ended]:
        raise UsageError(
            f"{record.folder}: its search has not ended (trial {waiting[0]} is {record.trial(waiting[0]).state.value}); the "
            "command that started it ends it"
        )
    return parent


def _epochs(before: Trial | None, asked: int | None, default: int, *, again: bool) -> int:
    """How long to train: as long as the same training did that was begun earlier."""
    if before is None:
        return asked or default
    known = before.suggestion.epochs
    if asked not in (None, known):
        raise UsageError(
            f"trial {before.number} is this network from the same weights, for {known} epochs: give another --seed, or "
            f"--epochs {known}"
        )
    if before.state is TrialState.FAILED and not again:
        raise UsageError(
            f"trial {before.number} is this training; it failed ({before.error}): --retry-failed repeats it"
        )
    return known


def ended(record: Record, suggestion: Suggestion) -> Sequence[str]:
    """How the training began and ended.

    Raises:
        UsageError: it did not complete; the message has the reason.
    """
    trial = next(trial for trial in record.trials() if trial.suggestion.key == suggestion.key)
    if trial.metrics is None:
        raise UsageError(f"trial {trial.number} is {trial.state.value}: {trial.error or 'no reason is known'}")
    start = trial.attempt.inherited
    before = f"top-1 {in_percent(start.top1)} before any training (one centre clip), " if start else ""
    return [
        f"           expand export {shlex.quote(str(record.folder))} --trial {trial.number} --to my_network",
        f"\ntrial {trial.number}: {before}{in_percent(trial.metrics.top1, trial.metrics.standard_error)} at the end",
    ]
