"""Grid search: every named point of a space, or every combination of the values of some axes. Standard library only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from expand.core.errors import UsageError
from expand.core.space import Architecture, Axis, SearchSpace
from expand.core.study import CountMacs, Study
from expand.core.trial import Suggestion, Trial
from expand.strategies.ladders import first_that


@dataclass(frozen=True)
class Grid:
    """Trains named networks, or every combination of the values of some axes.

    It suggests one network at a time with all its seeds, so that all networks are compared on the same seeds and a budget can
    end the search between two networks.

    Attributes:
        points: names of the space's points, in this order.
        axes: names of axes; every combination of their values is trained, the last axis changing fastest. All else is as at
            the start.
        equal_to: name of a point; each other network is scaled along `by` to its multiply-adds, so that networks are compared
            at equal cost. Empty scales nothing.
        by: name of the axis that is scaled.

    Examples:
        >>> from studies.mcx_split import study
        >>> suggestions = Grid(points=("R2D", "MC3")).ask(study("demo"), [], lambda architecture: 0)
        >>> [(suggestion.name, suggestion.seed) for suggestion in suggestions]
        [('R2D', 0), ('R2D', 1), ('R2D', 2)]
    """

    points: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    equal_to: str = ""
    by: str = "width"

    def ask(self, study: Study, trials: Sequence[Trial], macs: CountMacs) -> list[Suggestion]:
        """The next network without trials.

        Raises:
            UsageError: neither points nor axes are given, or both; the space has no such name; an axis has no list of values.
        """
        return next_network(study, trials, self._networks(study, macs))

    def _networks(self, study: Study, macs: CountMacs) -> Iterator[Suggestion]:
        space = study.space
        if bool(self.points) == bool(self.axes):
            raise UsageError("strategy: a grid takes either points or axes; set exactly one of them")
        if self.points:
            named = [(name, space.point(name)) for name in self.points]
        else:
            axes = [space.axis(name) for name in self.axes]
            rungs = [values_of(space, axis) for axis in axes]
            named = [(name_of(space, axes, point), point) for point in _product(space, axes, rungs)]
        reference = space.point(self.equal_to) if self.equal_to else None
        by = space.axis(self.by) if reference else None
        for position, (name, architecture) in enumerate(named, start=1):
            reason = f"network {position} of {len(named)}"
            if reference is not None and by is not None and architecture != reference:
                matched = nearest(space, architecture, by, macs(reference), macs)
                ratio = macs(matched) / macs(reference)
                reason = f"{name} at the cost of {self.equal_to}: {architecture.changes(matched) or 'as it is'}, x{ratio:.3f}"
                architecture = matched
            yield Suggestion(architecture, study.recipe.epochs, 0, kind="grid", reason=reason, name=name)


def next_network(study: Study, trials: Sequence[Trial], networks: Iterable[Suggestion]) -> list[Suggestion]:
    """The first network with missing seeds, as one suggestion per missing seed."""
    known = {(trial.architecture, trial.suggestion.seed) for trial in trials}
    for network in networks:
        missing = [seed for seed in study.seeds if (network.architecture, seed) not in known]
        if missing:
            return [replace(network, seed=seed) for seed in missing]
    return []


def values_of(space: SearchSpace, axis: Axis) -> Sequence[object]:
    """All values of an axis, in growing order.

    Raises:
        UsageError: the axis changes several values together and has no list of its own.
    """
    values = list(space.rungs(space.start, axis))
    if not values:
        raise UsageError(f"strategy.axes: {axis.name} of {space.name} has no list of values; name points instead")
    return values


def name_of(space: SearchSpace, axes: Sequence[Axis], architecture: Architecture) -> str:
    """A point's name, or else its values on these axes, numbers to three digits behind the point: "3-3-5-5-7", "2-1.333"."""
    for name, point in space.points.items():
        if point == architecture:
            return name
    values = (space.value_on(architecture, axis) for axis in axes)
    return "-".join(str(round(value, 3) if isinstance(value, float) else value) for value in values)


def nearest(space: SearchSpace, architecture: Architecture, axis: Axis, target: float, macs: CountMacs) -> Architecture:
    """The network whose cost is nearest to `target` multiply-adds, changing this axis alone."""
    larger = macs(architecture) < target
    ladder = [architecture, *(space.larger if larger else space.smaller)(architecture, axis)]
    past = first_that(ladder, lambda point: macs(point) >= target if larger else macs(point) <= target)
    return min(ladder[max(past - 1, 0) : past + 1], key=lambda point: abs(math.log(macs(point) / target)))


def _product(space: SearchSpace, axes: Sequence[Axis], rungs: Sequence[Sequence[object]]) -> list[Architecture]:
    parameters = [axis.parameter for axis in axes]
    points = (space.architecture(**dict(zip(parameters, values, strict=True))) for values in itertools.product(*rungs))
    return list(dict.fromkeys(points))
