"""The networks that a search may choose from: every combination of some axes' values that a study's limits allow.

Costs are counted here, before anything is suggested, so that no strategy ever proposes a network that a limit forbids.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import qmc

from expand.core.errors import UsageError
from expand.core.space import Architecture, Axis, SearchSpace, Value
from expand.core.study import Costs, Objective, Study
from expand.core.trial import Cost
from expand.strategies.ladders import first_that
from expand.strategies.learning_curves import Floats, Points

MOST_COUNTED = 20_000  # a larger product of values is sampled
COUNTED = ("gmacs", "params_m")
SAMPLED = 4_000  # networks within the limits that are kept then


@dataclass(frozen=True)
class Choice:
    """Which networks of a space a strategy may choose.

    Attributes:
        axes: names of the axes that vary; empty are all axes of the space. All else is as at the start.
        within: axis, lowest and highest value, for axes of numbers that are not searched over their whole range.
        values: most values that are tried on an axis of numbers, spread evenly by ratio. 0 tries all.
        points: names of points that are trained first.
    """

    axes: tuple[str, ...] = ()
    within: tuple[tuple[str, float, float], ...] = ()
    values: int = 8
    points: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pool:
    """Networks within the limits, in a fixed order, the named points first.

    Attributes:
        costs: (networks, objectives): the counted objectives of the front, to be minimised.
        gmacs: (networks,): billions of multiply-adds of one clip.
        points: coordinates for models.
        names: of the named points.
        lists: parameters with the values that are tried.
        complete: whether these are all networks, not a sample.
    """

    networks: tuple[Architecture, ...]
    costs: Floats
    gmacs: Floats
    points: Points
    names: tuple[str, ...]
    lists: tuple[tuple[str, tuple[Value, ...]], ...]
    complete: bool

    @functools.cached_property
    def index(self) -> dict[Architecture, int]:
        return {network: row for row, network in enumerate(self.networks)}

    def name(self, row: int) -> str:
        return self.names[row] if row < len(self.names) else ""


def pool(study: Study, choice: Choice, macs: Costs, extra: Iterable[Architecture] = ()) -> Pool:
    """The networks of a choice that the study's limits allow.

    Args:
        extra: more networks, such as those that were trained; those beyond the limits are left out.

    Raises:
        UsageError: an unknown axis or point, an axis without values, no limit on a counted cost, or limits that allow no
            network.
    """
    counted = tuple(counted_objectives(study))
    limits = tuple(each for each in study.objectives if each.limit is not None and each.name in COUNTED)
    if not limits:
        raise UsageError(
            "objectives: this search needs a limit on a cost, or it would train the most expensive networks there are; "
            "for example --set objectives.gmacs.limit=0.01"
        )
    # Counting thousands of networks takes seconds. What the start costs tells counters of other numbers of classes apart.
    key = (study.space, choice, limits, counted, macs(study.space.start))
    if key not in _POOLS:
        if len(_POOLS) >= 16:
            _POOLS.clear()
        _POOLS[key] = _count(study.space, choice, limits, counted, macs)
    found = _POOLS[key]
    more = sorted((each for each in set(extra) - set(found.index)), key=str)
    allowed = [each for each in more if not _over(limits, macs.cost(each))]
    return _pool(found, (*found.networks, *allowed), counted, macs) if allowed else found


_POOLS: dict[object, Pool] = {}


def _pool(found: Pool, networks: tuple[Architecture, ...], counted: Sequence[Objective], macs: Costs) -> Pool:
    """The pool with more networks at its end."""
    table = [macs.cost(network) for network in networks[len(found.networks) :]]
    costs = np.array([[value_of(objective, cost) for objective in counted] for cost in table], dtype=float)
    return replace(
        found,
        networks=networks,
        costs=np.concatenate([found.costs, costs.reshape(len(table), len(counted))]),
        gmacs=np.concatenate([found.gmacs, [cost.gmacs for cost in table]]),
        points=coordinates(networks),
    )


def counted_objectives(study: Study) -> list[Objective]:
    """The costs on the study's front that are counted, not measured.

    Raises:
        UsageError: there is none, or the front has no accuracy.
    """
    front = [objective for objective in study.objectives if objective.on_front]
    if not any(objective.name == "top1" for objective in front):
        raise UsageError("objectives: a front needs top1")
    counted = [objective for objective in front if objective.name in COUNTED]
    if not counted:
        raise UsageError(
            "objectives: this search needs gmacs or params_m on the front: a cost that is known before training"
        )
    return counted


def value_of(objective: Objective, cost: Cost) -> float:
    """The value of a counted objective."""
    return cost.gmacs if objective.name == "gmacs" else cost.params / 1e6


def _count(
    space: SearchSpace, choice: Choice, limits: Sequence[Objective], counted: Sequence[Objective], macs: Costs
) -> Pool:
    lists = tuple(
        (axis.parameter, tuple(_spread(_possible(space, axis, values, limits, macs), choice.values, space, axis)))
        for axis, values in value_lists(space, choice)
    )
    allowed: dict[Architecture, None] = {}
    for name in choice.points:
        over = _over(limits, macs.cost(space.point(name)))
        if over:
            raise UsageError(f"strategy.points: {name} is beyond the limit: {over}")
        allowed[space.point(name)] = None
    cheapest: tuple[float, Architecture] | None = None
    complete = math.prod(len(values) for _, values in lists) <= MOST_COUNTED
    seen = set(allowed)
    for network in _combinations(space, lists) if complete else _sample(space, lists):
        if network in seen:
            continue
        seen.add(network)
        try:
            cost = macs.cost(network)
        except Exception:  # it cannot be built, so it is no candidate
            continue
        if not _over(limits, cost):
            allowed[network] = None
        elif cheapest is None or cost.gmacs < cheapest[0]:
            cheapest = cost.gmacs, network
        if not complete and len(allowed) >= SAMPLED:
            break
    if not allowed:
        what = f"; the cheapest has {cheapest[0]:.4g} GMACs: {cheapest[1]}" if cheapest else ""
        raise UsageError(f"objectives: the limits allow none of {len(seen)} networks{what}")
    empty = Pool((), np.zeros((0, len(counted))), np.zeros(0), coordinates(()), choice.points, lists, complete)
    return _pool(empty, tuple(allowed), counted, macs)


def _over(limits: Sequence[Objective], cost: Cost) -> str:
    """The first limit that a network exceeds, in words."""
    for objective in limits:
        if objective.name in COUNTED and objective.over(value := value_of(objective, cost)):
            return f"{value:.4g} {objective.name}, at most {objective.limit:.4g}"
    return ""


def value_lists(space: SearchSpace, choice: Choice) -> list[tuple[Axis, list[Value]]]:
    """The values of each axis within its bounds, in growing order.

    Raises:
        UsageError: an unknown axis, one without a list of values, or none within its bounds.
    """
    axes = [space.axis(name) for name in choice.axes or [axis.name for axis in space.axes]]
    bounds = {name: (low, high) for name, low, high in choice.within}
    found = []
    for axis in axes:
        values = list(space.values(axis))
        low, high = bounds.pop(axis.name, (-math.inf, math.inf))
        kept = [value for value in values if isinstance(value, str) or low <= value <= high]
        if not kept:
            raise UsageError(
                f"strategy.within: {axis.name} has no value from {low:g} to {high:g}"
                if values else f"strategy.axes: {axis.name} of {space.name} has no list of values"
            )  # fmt: skip
        found.append((axis, kept))
    if bounds:
        raise UsageError(f"strategy.within: {', '.join(bounds)} is not among strategy.axes")
    return found


def _possible(
    space: SearchSpace, axis: Axis, values: list[Value], limits: Sequence[Objective], macs: Costs
) -> list[Value]:
    """The values with which the start, otherwise unchanged, stays within the limits; all of them where none does."""

    def over(value: Value) -> bool:
        try:
            network = space.architecture(**(space.start.as_dict() | {axis.parameter: value}))
            return bool(_over(limits, macs.cost(network)))
        except Exception:  # not legal beside the start's values, or it cannot be built
            return False

    if any(isinstance(value, str) for value in values):
        return values
    # Costs never fall along an axis of numbers, and the most expensive networks are slow to count.
    end = first_that(values, over)
    return values[:end] or values


def _spread(values: list[Value], most: int, space: SearchSpace, axis: Axis) -> list[Value]:
    """At most so many of the values, nearest to an even spacing by ratio, and the start's."""
    numbers = [value for value in values if isinstance(value, (int, float)) and value > 0]
    if not most or len(values) <= most or len(numbers) < len(values):
        return values
    marks = np.geomspace(numbers[0], numbers[-1], most)
    chosen: set[Value] = {min(numbers, key=lambda value: abs(math.log(value / mark))) for mark in marks}
    start = space.value_on(space.start, axis)
    return [value for value in values if value in chosen or value == start]


def _combinations(space: SearchSpace, lists: Sequence[tuple[str, tuple[Value, ...]]]) -> Iterator[Architecture]:
    for values in itertools.product(*(values for _, values in lists)):
        network = legal(space, dict(zip((name for name, _ in lists), values, strict=True)))
        if network is not None:
            yield network


def _sample(space: SearchSpace, lists: Sequence[tuple[str, tuple[Value, ...]]]) -> Iterator[Architecture]:
    """The start, then networks along a Sobol sequence: an even sample."""
    yield space.start
    for row in qmc.Sobol(len(lists), scramble=True, seed=0).random_base2(14):
        values = {
            name: values[min(int(share * len(values)), len(values) - 1)]
            for (name, values), share in zip(lists, row, strict=True)
        }
        network = legal(space, values)
        if network is not None:
            yield network


def legal(space: SearchSpace, values: dict[str, Value]) -> Architecture | None:
    """The network with these values; None where they are not legal together, or of no use."""
    try:
        found = space.architecture(**values)
    except UsageError:
        return None
    return found if space.searched(found) else None


def neighbours(space: SearchSpace, found: Pool, network: Architecture) -> list[Architecture]:
    """Networks one step away along one axis, up or down its list of values."""
    near: dict[Architecture, None] = {}
    for axis in space.axes:
        values = dict(found.lists).get(axis.parameter)
        value = space.value_on(network, axis)
        if not values or value is None:
            continue
        place = values.index(value) if value in values else _between(values, value)
        for other in {max(place - 1, 0), min(place + 1, len(values) - 1)}:
            moved = legal(space, network.as_dict() | {axis.parameter: values[other]})
            if moved is not None and moved != network:
                near[moved] = None
    return sorted(near, key=str)


def moved(
    space: SearchSpace, found: Pool, network: Architecture, generator: np.random.Generator
) -> Architecture | None:
    """The network moved by one or two values, up or down, along a random axis; None where that is not legal."""
    names = [name for name, values in found.lists if len(values) > 1]
    if not names:
        return None
    name = names[int(generator.integers(len(names)))]
    axis, values = next(axis for axis in space.axes if axis.parameter == name), dict(found.lists)[name]
    value = space.value_on(network, axis)
    if value is None:
        place = int(generator.integers(len(values)))
    else:
        place = values.index(value) if value in values else _between(values, value)
    if all(isinstance(each, str) for each in values):
        other = int(generator.integers(len(values)))  # kinds have no order
    else:
        other = place + int(generator.choice([-2, -1, 1, 2]))
    if not 0 <= other < len(values):
        return None
    return legal(space, network.as_dict() | {name: values[other]})


def _between(values: Sequence[Value], value: Value) -> int:
    """Where a number that is not in the list would stand."""
    return sum(isinstance(each, (int, float)) and isinstance(value, (int, float)) and each < value for each in values)


def coordinates(networks: Sequence[Architecture]) -> Points:
    """Networks as points: log2 of numbers; a column per kind for words. Values that all share are left out."""
    columns: list[list[float]] = []
    owner: list[int] = []
    names = list(dict.fromkeys(name for network in networks for name, _ in network.values))
    table = [network.as_dict() for network in networks]
    axis = 0
    for name in names:
        values = [row.get(name) for row in table]
        kinds = sorted({str(value) for value in values})
        if len(kinds) == 1:
            continue
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 for value in values):
            columns.append([math.log2(float(value)) for value in values])  # type: ignore[arg-type]
            owner.append(axis)
        else:
            for kind in kinds:
                columns.append([math.sqrt(0.5) * (str(value) == kind) for value in values])
                owner.append(axis)
        axis += 1
    places = np.array(columns, dtype=float).T if columns else np.zeros((len(networks), 1))
    return Points(places, np.array(owner or [0], dtype=np.intp))


def first_networks(found: Pool, count: int, seed: int) -> list[int]:
    """Rows of the networks to train first: the named points, then a random one from each of `count` strata of log cost."""
    rows = list(range(len(found.names)))
    logs = np.log2(found.gmacs)
    edges = np.linspace(logs.min(), logs.max() + 1e-9, count + 1)
    generator = np.random.default_rng(seed)
    for low, high in itertools.pairwise(edges):
        inside = np.flatnonzero((logs >= low) & (logs < high))
        if inside.size:
            rows.append(int(generator.choice(inside)))
    return list(dict.fromkeys(rows))
