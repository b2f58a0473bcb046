"""The nouns of a family: `Axis`, `Architecture`, `Clip`, and the `SearchSpace` that ties them together.

Standard library only. A family (`search_spaces/x3d.py` is the one to read) subclasses `SearchSpace`.
"""

from __future__ import annotations

import contextlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from expand.core.clip import Clip
from expand.core.errors import UsageError, unknown
from expand.core.weight_names import Inheritance, WeightLayout

if TYPE_CHECKING:
    from torch import nn

    from expand.core.layer_plan import LayerPlan

Value = int | float | str


@dataclass(frozen=True)
class Axis:
    """One direction in which a family grows.

    Attributes:
        parameter: the architecture value that grows. Others may change with it: a higher frame rate over the same duration
            means more frames.
        grows: what growing the axis does, in words.
        low, high: smallest and largest legal number, without `choices`; with `integer` only whole numbers are legal.
        choices: the legal values, in growing order; empty for an axis of numbers.
        step: distance of the values that growth tries on an axis of numbers; 0 if the family says which (`SearchSpace.rungs`).
    """

    name: str
    parameter: str
    symbol: str
    unit: str
    grows: str
    low: float = 0
    high: float = 0
    integer: bool = False
    choices: tuple[Value, ...] = ()
    step: float = 0

    def check(self, value: object) -> Value:
        """Returns the value in its proper type.

        Raises:
            UsageError: the value is not legal on this axis.
        """
        if self.choices:
            for choice in self.choices:
                if _typed(value) == _typed(choice):
                    return choice
            allowed = ", ".join(map(str, self.choices))
            raise UsageError(
                f"{self.parameter}={value}: allowed are {allowed}" + (f" ({self.unit})" if self.unit else "")
            )
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise UsageError(f"{self.parameter}={value}: not a number") from None
        if not math.isfinite(number):
            raise UsageError(f"{self.parameter}={value}: not a finite number")
        if self.integer and number != int(number):
            raise UsageError(f"{self.parameter}={value}: whole numbers only")
        if not self.low <= number <= self.high:
            raise UsageError(f"{self.parameter}={value}: allowed are {self.low:g} to {self.high:g} ({self.unit})")
        return int(number) if self.integer else number


def _typed(value: object) -> str:
    """The value for comparing user input: without case and parentheses, which a shell needs quoted."""
    return str(value).lower().replace("(", "").replace(")", "")


@dataclass(frozen=True)
class Architecture:
    """One point of a search space. Equal networks are equal objects, because spaces return canonical values only."""

    family: str
    values: tuple[tuple[str, Value], ...]

    def __getitem__(self, name: str) -> Any:
        for key, value in self.values:
            if key == name:
                return value
        raise unknown(f"{self.family} parameter", name, [key for key, _ in self.values])

    def as_dict(self) -> dict[str, Value]:
        return dict(self.values)

    def to_json(self) -> str:
        return json.dumps({"family": self.family, "values": self.as_dict()})

    @staticmethod
    def from_json(text: str) -> Architecture:
        plain = json.loads(text)
        return Architecture(plain["family"], tuple(plain["values"].items()))

    def changes(self, other: Architecture) -> str:
        """The values that change from this architecture to `other`, for people: "stride 8→6, frames 2→4"."""
        new_values = other.as_dict()
        pairs = [(key, value, new_values.get(key)) for key, value in self.values]
        return ", ".join(f"{key} {_short(old)}→{_short(new)}" for key, old, new in pairs if old != new)

    def __str__(self) -> str:
        return " ".join(f"{key}={_short(value)}" for key, value in self.values)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Counted:
    """Our count of what published tables print: multiply-adds of one clip, and parameters with and without biases and norms."""

    macs: int
    params: int
    params_published: int

    @property
    def gmacs(self) -> float:
        return self.macs / 1e9


Quantity = Literal["gmacs", "params_m", "params_published_m"]


@dataclass(frozen=True)
class Published:
    """A published cost of a named point, to compare with our own count.

    Attributes:
        quantity: `gmacs` are multiply-adds of one clip, `params_m` all parameters in millions, `params_published_m`
            parameters without biases and normalisation.
        printed: the number as printed; its digits set the precision of the comparison.
        confidence: "exact" if the printed page was seen, "recalled" if not.
        values: what the source sets differently from the point, such as a larger crop.
        num_classes: the source's number of classes, if it differs from the family's.
        deviates: why our count differs from the printed digits (another convention, another network). A test checks that
            all other counts match.
    """

    point: str
    quantity: Quantity
    printed: str
    source: str
    confidence: Literal["exact", "recalled"] = "exact"
    values: tuple[tuple[str, Value], ...] = ()
    note: str = ""
    num_classes: int | None = None
    deviates: str = ""


def printed_column(quantity: Quantity, source: str, numbers: Mapping[str, str], **common: Any) -> tuple[Published, ...]:
    """One column of a printed table as `Published` entries; `common` holds the fields that all of them share."""
    return tuple(Published(point, quantity, printed, source, **common) for point, printed in numbers.items())


CostOf = Callable[..., Counted]  # cost_of("MC3", frames=16, num_classes=10): what a named point costs


@dataclass(frozen=True)
class Claim:
    """A statement about costs, and what our counts say.

    Attributes:
        statement: the claim, as a sentence without its full stop.
        measured: computes our number from the costs of named points; an int for a count.
        finding: the explanation; a function of the costs if it contains numbers.
        printed: the source's number; None if it prints none.
        confidence: "exact" if the printed page was seen, "recalled" if not.
        origin: "printed" in the source, "read" by readers from its tables, or "ours".
    """

    statement: str
    source: str
    measured: Callable[[CostOf], float]
    unit: str
    finding: str | Callable[[CostOf], str]
    printed: float | None = None
    confidence: Literal["exact", "recalled"] = "exact"
    origin: Literal["printed", "read", "ours"] = "printed"
    verdict: Literal["holds", "does not hold", "open"] = "holds"


class SearchSpace(ABC):
    """A family of networks: its axes, its start, and a network for each point.

    A subclass is a frozen dataclass with plain values as fields, so that it can be stored and compared.

    Attributes:
        num_classes: the published number of classes.
        published: published costs of the named points; `expand cost --papers` compares them with our counts.
        claims: statements about the family's costs, checked by the same command.

    Examples:
        >>> from search_spaces.x3d import X3DSpace
        >>> space = X3DSpace()
        >>> space.start.changes(space.point("M"))
        'frames 1→16, stride 16→5, resolution 112→224, bottleneck 1→2.25, depth 1→2.2'
    """

    name: str
    axes: tuple[Axis, ...]
    num_classes: int = 400
    published: Sequence[Published] = ()
    claims: Sequence[Claim] = ()

    @abstractmethod
    def start_values(self) -> dict[str, Any]:
        """The start's values in display order; every architecture has exactly these names."""

    @property
    @abstractmethod
    def points(self) -> Mapping[str, Architecture]:
        """The published networks of the family by name."""

    @abstractmethod
    def constructor(self, architecture: Architecture, num_classes: int) -> tuple[type[nn.Module], dict[str, Any]]:
        """The network's class and its keyword arguments, plain values; export writes exactly these."""

    def inputs(self, architecture: Architecture) -> tuple[Clip, ...]:
        """One clip per stream of the network; by default one of the values `frames`, `stride` and `resolution`."""
        side = architecture["resolution"]
        return (Clip(architecture["frames"], architecture["stride"], side, side),)

    def layer_plan(self, architecture: Architecture, num_classes: int) -> LayerPlan | None:
        """The network as a list of layers, to compute its cost by arithmetic; None: run the network on shapes instead."""
        return None

    def weight_layouts(self, architecture: Architecture) -> Sequence[WeightLayout]:
        """The layouts in which others publish weights of this network."""
        return ()

    def inheritance(self, architecture: Architecture) -> Inheritance:
        """What a larger network needs to know of this one to start from its weights (`expand/weights/grow.py`)."""
        return Inheritance()

    def larger(self, architecture: Architecture, axis: Axis) -> Sequence[Architecture]:
        """Architectures reachable by growing this axis alone, in order. On an axis of numbers the cost must never fall, because
        strategies depend on it; kinds of layers may cost more or less."""
        return self._moved(architecture, ({axis.parameter: value} for value in self._around(architecture, axis)[1]))

    def smaller(self, architecture: Architecture, axis: Axis) -> Sequence[Architecture]:
        """Architectures reachable by shrinking this axis alone, the nearest first (for contraction)."""
        return self._moved(
            architecture, ({axis.parameter: value} for value in self._around(architecture, axis)[0][::-1])
        )

    def rungs(self, architecture: Architecture, axis: Axis) -> Sequence[Value]:
        """The values to try on an axis from this architecture, in growing order; `larger` and `smaller` use them."""
        if axis.choices or not axis.step:
            return axis.choices
        if axis.integer:
            return whole_steps(axis, architecture[axis.parameter], int(axis.step))
        return [n * axis.step for n in range(math.ceil(axis.low / axis.step), int(axis.high / axis.step) + 1)]

    def values(self, axis: Axis) -> Sequence[Value]:
        """The values of an axis to combine with any values of the others, in growing order."""
        return self.rungs(self.start, axis)

    def searched(self, architecture: Architecture) -> bool:
        """Whether a search that combines values freely may try this network. A family leaves out what is legal but of no use."""
        return True

    def value_on(self, architecture: Architecture, axis: Axis) -> Value | None:
        """An architecture's value on an axis; None if it has none (a network without a split point)."""
        return architecture.as_dict().get(axis.parameter)

    def network_of(self, architecture: Architecture) -> tuple[SearchSpace, Architecture]:
        """The family and its network, without the values of a recipe (`expand/core/joint.py`)."""
        return self, architecture

    def recipe_of(self, architecture: Architecture) -> dict[str, Any]:
        """The fields of the recipe that this point sets."""
        return {}

    def check_recipe(self, recipe: Any) -> None:  # noqa: B027 - most spaces set nothing
        """Raises `UsageError` if a point sets what no recipe can have beside the others of `recipe`, which the start has."""

    def published_growth(self, architecture: Architecture, axis: Axis) -> Architecture | None:
        """The paper's fixed step along this axis; None if it gives none."""
        return None

    def canonical(self, values: dict[str, Any]) -> dict[str, Any]:
        """Maps all values that build the same network to one canonical form.

        An axis that sets several values at once (a split point) appears in `values` if it was given, and never in the result.

        Raises:
            UsageError: values that are legal alone but not together, such as a clip too short for the network.
        """
        return values

    @property
    def start(self) -> Architecture:
        """The architecture at which a search starts."""
        return self.architecture()

    def build(self, architecture: Architecture, num_classes: int) -> nn.Module:
        """Builds the network, initialised from torch's current random state."""
        network, arguments = self.constructor(architecture, num_classes)
        return network(**arguments)

    def architecture(self, **values: object) -> Architecture:
        """The canonical architecture with these values; all others are the start's.

        Raises:
            UsageError: the family has no such name, or the value is not legal.
        """
        axis_of = {axis.parameter: axis for axis in self.axes}
        for name in values:
            if name not in axis_of:
                raise unknown(f"{self.name} parameter", name, axis_of)
        chosen = {name: axis_of[name].check(value) for name, value in (self.start_values() | values).items()}
        return Architecture(self.name, tuple(self.canonical(chosen).items()))

    def point(self, name: str, **values: object) -> Architecture:
        """A named point, ignoring case; `values` replace the point's own.

        Raises:
            UsageError: there is no such point or parameter, or the value is not legal.
        """
        by_name = {each.lower(): architecture for each, architecture in self.points.items()}
        if name.lower() not in by_name:
            raise unknown(f"{self.name} point", name, self.points)
        found = by_name[name.lower()]
        return self.architecture(**(found.as_dict() | values)) if values else found

    def axis(self, name: str) -> Axis:
        for axis in self.axes:
            if axis.name == name:
                return axis
        raise unknown(f"{self.name} axis", name, [axis.name for axis in self.axes])

    def _moved(self, architecture: Architecture, moves: Iterable[dict[str, Value]]) -> list[Architecture]:
        """The distinct networks with these values replaced, in order, without `architecture` and without impossible ones."""
        found: dict[Architecture, None] = {}
        for move in moves:
            with contextlib.suppress(UsageError):
                found[self.architecture(**(architecture.as_dict() | move))] = None
        found.pop(architecture, None)
        return list(found)

    def _around(self, architecture: Architecture, axis: Axis) -> tuple[list[Value], list[Value]]:
        """The rungs of an axis below and above an architecture's value."""
        value, rungs = self.value_on(architecture, axis), list(self.rungs(architecture, axis))
        if value in rungs:
            return rungs[: rungs.index(value)], rungs[rungs.index(value) + 1 :]
        if not isinstance(value, (int, float)):
            return [], []
        numbers = [rung for rung in rungs if isinstance(rung, (int, float))]
        return [rung for rung in numbers if rung < value], [rung for rung in numbers if rung > value]


# --- widths and other numbers that round -----------------------------------------------------------------------------


def scaled(width: float, channels: int) -> int:
    """`width` times `channels`, rounded to the nearest whole number, at least 1."""
    return max(1, math.floor(width * channels + 0.5))


def plain_width(width: float, channels: Collection[int]) -> float:
    """The plainest width that scales each of these channel counts to the same result as `width`."""
    counts = {base: scaled(width, base) for base in channels}
    high = min((count + 0.5) / base for base, count in counts.items())
    low = max(((count - 0.5) / base for base, count in counts.items() if count > 1), default=high / 2)
    return plainest(low, high)


def whole_steps(axis: Axis, value: int, step: int) -> range:
    """The whole values of an axis in steps of `step`, including `value`."""
    return range(int(axis.low) + (value - int(axis.low)) % step, int(axis.high) + 1, step)


def plainest(low: float, high: float) -> float:
    """The canonical value of all in [low, high): the one with the fewest decimals, and of these the nearest to the middle."""
    for digits in range(10):
        scale = 10**digits
        first, last = math.ceil(round(low * scale, 6)), math.ceil(round(high * scale, 6)) - 1
        if first <= last:
            return min(max(round((low + high) / 2 * scale), first), last) / scale
    return low
