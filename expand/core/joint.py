"""Joint search of architecture and recipe: a space whose points hold, besides the network's values, some of the recipe's.

Strategies search such a space as any other: an axis of the recipe is an axis. What builds, counts or exports a network sees the
family's own values only. Standard library only.
"""

from __future__ import annotations

import itertools
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Union

from expand.core.checks import require_types
from expand.core.clip import Clip
from expand.core.errors import UsageError, unknown
from expand.core.space import Architecture, Axis, Claim, Published, SearchSpace, Value
from expand.core.study import Recipe, Study
from expand.core.weight_names import Inheritance, WeightLayout

if TYPE_CHECKING:
    from torch import nn

    from expand.core.layer_plan import LayerPlan

# Fields that must be the same in all trainings of a run, and why.
SHARED = {
    "epochs": "budgets and pauses count epochs, so all trainings have equally many",
    "updates": "it changes the work of an epoch, which budgets do not see",
    "views": "it changes how networks are validated, so accuracies could not be compared",
    "loader_workers": "it changes no result",
    "mixed_precision": "it changes nothing where a device has none",
    "weights": "all trainings of a run start from the same file",
    "freeze": "it changes the work of an epoch, which budgets do not see",
}


@dataclass(frozen=True)
class RecipeAxis:
    """A field of the recipe that is searched together with the network.

    Attributes:
        name: the field of `Recipe`, such as "learning_rate".
        low: smallest number, without `choices`.
        high: largest number. What is tried is evenly spaced by ratio, with steps near 2.
        choices: the values that are tried.
        start: the value of the search's start and of named points; none is the first value. `joint` takes the study's own.
    """

    name: str
    low: float = 0
    high: float = 0
    choices: tuple[Value, ...] = ()
    start: Value | None = None

    def __post_init__(self) -> None:
        """Raises `UsageError` for a field that cannot be searched, and for values that it cannot have."""
        require_types(self, f"recipe axis {self.name}: ")
        kind = field_kind(self.name)
        object.__setattr__(self, "choices", tuple(self._proper(value, kind) for value in self.choices))
        if self.choices and len(set(self.choices)) < max(2, len(self.choices)):
            raise UsageError(f"recipe axis {self.name}: at least two choices, each once")
        if self.choices and (self.low or self.high):
            raise UsageError(f"recipe axis {self.name}: either choices or numbers from low to high")
        if not self.choices and kind not in (int, float):
            raise UsageError(f"recipe axis {self.name}: it is no number; give choices")
        if not self.choices and not 0 < self.low < self.high:
            raise UsageError(f"recipe axis {self.name}: low={self.low:g}, high={self.high:g}; wanted 0 < low < high")
        if self.start is not None:
            object.__setattr__(self, "start", self.axis.check(self._proper(self.start, kind)))

    def _proper(self, value: Value, kind: Any) -> Value:
        """The value in the field's type, so that 1 and 1.0 are one value.

        Raises:
            UsageError: the field cannot have it.
        """
        if typing.get_origin(kind) is Literal:
            if value not in typing.get_args(kind):
                raise unknown(f"recipe.{self.name}", value, typing.get_args(kind))
            return value
        if isinstance(value, bool) is not (kind is bool) or isinstance(value, str):
            raise UsageError(
                f"recipe axis {self.name}: {value!r} is {'not true or false' if kind is bool else 'no number'}"
            )
        if kind is int and value != int(value):
            raise UsageError(f"recipe axis {self.name}: {value:g} is no whole number")
        return kind(value)

    @property
    def axis(self) -> Axis:
        """The axis that strategies see."""
        integer = not self.choices and field_kind(self.name) is int
        grows = f"another {self.name.replace('_', ' ')} of the recipe"
        return Axis(
            self.name,
            self.name,
            "",
            "recipe",
            grows,
            low=self.low,
            high=self.high,
            integer=integer,
            choices=self.choices,
        )

    @property
    def values(self) -> tuple[Value, ...]:
        """What is tried, in growing order where it is numbers."""
        if self.choices:
            return self.choices
        ratio = self.high / self.low
        steps = max(1, round(math.log2(ratio)))
        between = [float(f"{self.low * ratio ** (step / steps):.6g}") for step in range(1, steps)]
        found = [float(self.low), *between, float(self.high)]
        return tuple(dict.fromkeys(map(round, found))) if self.axis.integer else tuple(found)

    def nearest(self, value: Any) -> Value:
        """The value itself where it is legal on this axis, else the nearest that is tried; the first choice for words."""
        try:
            return self.axis.check(value)
        except UsageError:
            numbers = [each for each in self.values if isinstance(each, (int, float)) and not isinstance(each, bool)]
            known = isinstance(value, (int, float)) and not isinstance(value, bool)
            return min(numbers, key=lambda each: abs(each - value)) if numbers and known else self.values[0]


def field_kind(name: str) -> Any:
    """The type of a field of the recipe that may be searched: float, int, bool, or a `Literal` of words.

    Raises:
        UsageError: there is no such field, it must be the same in all trainings, or it holds several values.
    """
    hints = typing.get_type_hints(Recipe)
    if name not in hints:
        several = [each for each, kind in hints.items() if typing.get_origin(kind) is tuple]
        raise unknown("recipe axis", name, [each for each in hints if each not in SHARED and each not in several])
    if name in SHARED:
        raise UsageError(f"recipe axis {name}: {SHARED[name]}")
    kind = hints[name]
    if typing.get_origin(kind) in (Union, types.UnionType):  # float or none; none is no value of an axis
        kind = next(each for each in typing.get_args(kind) if each is not types.NoneType)
    if kind not in (int, float, bool) and typing.get_origin(kind) is not Literal:
        raise UsageError(f"recipe axis {name}: it holds several values; only single ones can be searched")
    return kind


@dataclass(frozen=True)
class JointSpace(SearchSpace):
    """A family's networks, each with each of the recipes that some axes span.

    A point has the family's values, then one per recipe axis. Points that differ in the recipe alone are the same network: they
    have the same cost and, with the same seed, the same initial weights.

    Attributes:
        family: the space of the networks.
        recipe_axes: the fields of the recipe that are searched with them.

    Examples:
        >>> from search_spaces.x3d import X3DSpace
        >>> space = JointSpace(X3DSpace(), (RecipeAxis("learning_rate", 0.025, 0.1, start=0.05),))
        >>> space.architecture(width=0.5, learning_rate=0.1)["learning_rate"], space.point("M")["learning_rate"]
        (0.1, 0.05)
        >>> space.values(space.axis("learning_rate"))
        (0.025, 0.05, 0.1)
    """

    family: SearchSpace
    recipe_axes: tuple[RecipeAxis, ...]

    def __post_init__(self) -> None:
        """Raises `UsageError` where a name stands for two axes."""
        taken = {name for axis in self.family.axes for name in (axis.name, axis.parameter)} | set(
            self.family.start.as_dict()
        )
        for place, axis in enumerate(self.recipe_axes):
            if axis.name in taken or axis.name in [other.name for other in self.recipe_axes[:place]]:
                raise UsageError(f"recipe axis {axis.name}: {self.family.name} has an axis of this name already")

    @cached_property
    def _own(self) -> dict[str, RecipeAxis]:
        return {axis.name: axis for axis in self.recipe_axes}

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.family.name

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        return self.family.num_classes

    @property
    def published(self) -> Sequence[Published]:  # type: ignore[override]
        return self.family.published

    @property
    def claims(self) -> Sequence[Claim]:  # type: ignore[override]
        return self.family.claims

    @cached_property
    def axes(self) -> tuple[Axis, ...]:  # type: ignore[override]
        return (*self.family.axes, *(own.axis for own in self.recipe_axes))

    # --- what a point is ---

    def network_of(self, architecture: Architecture) -> tuple[SearchSpace, Architecture]:
        values = tuple((name, value) for name, value in architecture.values if name not in self._own)
        return self.family.network_of(Architecture(architecture.family, values))

    def recipe_of(self, architecture: Architecture) -> dict[str, Any]:
        return self.family.recipe_of(architecture) | {name: architecture[name] for name in self._own}

    def _network(self, architecture: Architecture) -> Architecture:
        return self.network_of(architecture)[1]

    def _with(self, network: Architecture, recipe: Mapping[str, Value]) -> Architecture:
        return Architecture(network.family, (*network.values, *((name, recipe[name]) for name in self._own)))

    def check_recipe(self, recipe: Recipe) -> None:
        """See `SearchSpace.check_recipe`. The rules of a recipe concern two fields at most, so all pairs of values are tried."""
        for axis in self.recipe_axes:
            value, start = getattr(recipe, axis.name), self._starts[axis.name]
            if value != start:
                raise UsageError(
                    f"recipe.{axis.name}={value}: it is searched, from {start}; set space.recipe_axes.{axis.name}.start too"
                )
        if "batch_size" in self._own and recipe.updates:
            raise UsageError("recipe axis batch_size: with recipe.updates it changes the work of an epoch; set it to 0")
        tried = [[(axis.name, value) for value in axis.values] for axis in self.recipe_axes]
        for some in (*((one,) for one in tried), *itertools.combinations(tried, 2)):
            for values in itertools.product(*some):
                try:
                    replace(recipe, **dict[str, Any](values))
                except UsageError as error:
                    raise UsageError(f"recipe axis {' with '.join(name for name, _ in values)}: {error}") from None

    # --- what strategies ask for ---

    @cached_property
    def _starts(self) -> dict[str, Value]:
        return {name: axis.values[0] if axis.start is None else axis.start for name, axis in self._own.items()}

    def start_values(self) -> dict[str, Any]:
        return self.family.start_values() | self._starts

    @property
    def start(self) -> Architecture:
        return self._with(self.family.start, self._starts)

    @property
    def points(self) -> Mapping[str, Architecture]:
        return {name: self._with(network, self._starts) for name, network in self.family.points.items()}

    def architecture(self, **values: object) -> Architecture:
        for name in values:
            if name not in {axis.parameter for axis in self.axes}:
                raise unknown(f"{self.name} parameter", name, [axis.parameter for axis in self.axes])
        recipe = {name: own.axis.check(values.get(name, self._starts[name])) for name, own in self._own.items()}
        return self._with(
            self.family.architecture(**{name: value for name, value in values.items() if name not in self._own}), recipe
        )

    def canonical(self, values: dict[str, Any]) -> dict[str, Any]:
        recipe = {name: values[name] for name in self._own}
        return self.family.canonical({name: value for name, value in values.items() if name not in recipe}) | recipe

    def values(self, axis: Axis) -> Sequence[Value]:
        return self._own[axis.name].values if axis.name in self._own else self.family.values(axis)

    def rungs(self, architecture: Architecture, axis: Axis) -> Sequence[Value]:
        if axis.name in self._own:
            return self._own[axis.name].values
        return self.family.rungs(self._network(architecture), axis)

    def value_on(self, architecture: Architecture, axis: Axis) -> Value | None:
        if axis.name in self._own:
            return architecture.as_dict().get(axis.name)
        return self.family.value_on(self._network(architecture), axis)

    def larger(self, architecture: Architecture, axis: Axis) -> Sequence[Architecture]:
        if axis.name in self._own:
            return super().larger(architecture, axis)
        recipe = self.recipe_of(architecture)
        return [self._with(each, recipe) for each in self.family.larger(self._network(architecture), axis)]

    def smaller(self, architecture: Architecture, axis: Axis) -> Sequence[Architecture]:
        if axis.name in self._own:
            return super().smaller(architecture, axis)
        recipe = self.recipe_of(architecture)
        return [self._with(each, recipe) for each in self.family.smaller(self._network(architecture), axis)]

    def published_growth(self, architecture: Architecture, axis: Axis) -> Architecture | None:
        if axis.name in self._own:
            return None
        grown = self.family.published_growth(self._network(architecture), axis)
        return None if grown is None else self._with(grown, self.recipe_of(architecture))

    def searched(self, architecture: Architecture) -> bool:
        return self.family.searched(self._network(architecture))

    # --- the network ---

    def build(self, architecture: Architecture, num_classes: int) -> nn.Module:
        return self.family.build(self._network(architecture), num_classes)

    def constructor(self, architecture: Architecture, num_classes: int) -> tuple[type[nn.Module], dict[str, Any]]:
        return self.family.constructor(self._network(architecture), num_classes)

    def inputs(self, architecture: Architecture) -> tuple[Clip, ...]:
        return self.family.inputs(self._network(architecture))

    def layer_plan(self, architecture: Architecture, num_classes: int) -> LayerPlan | None:
        return self.family.layer_plan(self._network(architecture), num_classes)

    def weight_layouts(self, architecture: Architecture) -> Sequence[WeightLayout]:
        return self.family.weight_layouts(self._network(architecture))

    def inheritance(self, architecture: Architecture) -> Inheritance:
        return self.family.inheritance(self._network(architecture))


def joint(study: Study, *axes: RecipeAxis) -> Study:
    """The study whose search also varies these fields of the recipe.

    It starts at the study's own values: those that are not on their axis move to the nearest there. Axes that the study
    searches already are replaced.

    Raises:
        UsageError: a field that cannot be searched, or values that no recipe can have together.
    """
    before = study.space.recipe_axes if isinstance(study.space, JointSpace) else ()
    family = study.space.family if isinstance(study.space, JointSpace) else study.space
    started = []
    for axis in axes:
        own = getattr(study.recipe, axis.name) if axis.start is None else axis.start
        started.append(replace(axis, start=axis.nearest(own)))
    names = [axis.name for axis in axes]
    space = JointSpace(family, (*(axis for axis in before if axis.name not in names), *started))
    return replace(study, space=space, recipe=replace(study.recipe, **space.recipe_of(space.start)))
