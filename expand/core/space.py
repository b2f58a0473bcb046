"""The nouns of a family: `Axis`, `Architecture`, `Clip`, and the `SearchSpace` that ties them together.

Standard library only. A family (`search_spaces/x3d.py` is the one to read) subclasses `SearchSpace`.
"""

from __future__ import annotations

import contextlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from expand.core.clip import Clip
from expand.core.errors import UsageError, unknown

if TYPE_CHECKING:
    from torch import Tensor, nn

    from expand.core.layer_plan import LayerPlan

Value = int | float | str


@dataclass(frozen=True)
class Axis:
    """One direction in which a family grows.

    `parameter` is the architecture value the axis is about; growing an axis may move others along with it (a higher
    frame rate over the same duration means more frames). Legal values are either `choices` or the numbers from `low`
    to `high`; `integer` says whether only whole ones count.
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

    def check(self, value: object) -> Value:
        """The value in its proper type.

        Raises:
            UsageError: it is not legal on this axis.
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
    """As it is compared when typed: without regard to case and parentheses, which a shell wants quoted."""
    return str(value).lower().replace("(", "").replace(")", "")


@dataclass(frozen=True)
class Architecture:
    """One point of a family. Equal networks are equal objects: spaces hand out canonical values only."""

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
        """What differs from here to `other`, for people: "stride 8→6, frames 2→4"."""
        there = other.as_dict()
        pairs = [(key, value, there.get(key)) for key, value in self.values]
        return ", ".join(f"{key} {_short(old)}→{_short(new)}" for key, old, new in pairs if old != new)

    def __str__(self) -> str:
        return " ".join(f"{key}={_short(value)}" for key, value in self.values)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Counted:
    """What published tables print of a network, by our own count: multiply-adds of one clip, all parameters, and those
    without biases and normalisation."""

    macs: int
    params: int
    params_published: int

    @property
    def gmacs(self) -> float:
        return self.macs / 1e9


Quantity = Literal["gmacs", "params_m", "params_published_m"]


@dataclass(frozen=True)
class Published:
    """A cost printed somewhere for one of a family's named points, to be held against our own count.

    `printed` is the text as it stands there, so that its digits count. `params_m` are all parameters in millions,
    `params_published_m` those without biases and normalisation, `gmacs` multiply-adds of one clip. `confidence` says
    "exact" where the printed page was seen and "recalled" where it was not. `values` are what the source sets otherwise
    than the point (a larger crop), `num_classes` its classes where they are not the family's. `deviates` is the reason
    where our count is not meant to give the printed digits (another convention, another network); a test holds that all
    others do. `note` is anything else worth a line.
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
    """One column of a printed table, the text by point: a `Published` each; `common` are fields that all of them share."""
    return tuple(Published(point, quantity, printed, source, **common) for point, printed in numbers.items())


CostOf = Callable[..., Counted]  # cost_of("MC3", frames=16, num_classes=10): what a named point costs


@dataclass(frozen=True)
class Claim:
    """A sentence about costs, and what our counts say.

    `origin` says whether the source "printed" it, whether it is what readers "read" from its tables, or whether it is
    "ours", which no source says. `printed` is the number it rests on (None where there is none), `measured` computes ours
    in the same unit, an int where it is a count. `finding` explains; where it names numbers it is a function of the costs.
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


@dataclass(frozen=True)
class WeightLayout:
    """How another code base names the weights of one of a family's networks, so that its checkpoints can be read.

    `modules` are its modules' names and ours; the tensors of a module (`weight`, `running_mean`) keep their names. Where its
    norms add another `norm_eps` than ours do, gains are scaled so that evaluation gives the same numbers; None leaves them.
    `unlike` are modules that make it another network, with what they are: a file that has one of them is refused.
    `convert` gets the file's tensors under our names, changes them in place where the two definitions differ, and says
    in a sentence each what it did.
    """

    name: str
    modules: Mapping[str, str]
    norm_eps: float | None = None
    unlike: Mapping[str, str] = field(default_factory=dict)
    convert: Callable[[dict[str, Tensor]], Sequence[str]] | None = None


class SearchSpace(ABC):
    """A family of networks: its axes, its start, and a network for each of its points.

    A space is frozen (a frozen dataclass whose fields are plain values), so that it can be written out and compared.
    `num_classes` is what the family was published for. `published` and `claims` are what `expand cost --papers` checks.
    """

    name: str
    axes: tuple[Axis, ...]
    num_classes: int = 400

    @abstractmethod
    def start_values(self) -> dict[str, Any]:
        """The start's values in the order they are shown; an architecture has exactly these names."""

    @property
    @abstractmethod
    def points(self) -> Mapping[str, Architecture]:
        """The published networks of the family by name."""

    @property
    def published(self) -> tuple[Published, ...]:
        """Costs that were printed for the named points."""
        return ()

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What is said about the family's costs."""
        return ()

    @abstractmethod
    def constructor(self, architecture: Architecture, num_classes: int) -> tuple[type[nn.Module], dict[str, Any]]:
        """The network's class and its plain keyword arguments; export writes exactly these."""

    @abstractmethod
    def inputs(self, architecture: Architecture) -> tuple[Clip, ...]:
        """The clip each stream of the network reads."""

    def layer_plan(self, architecture: Architecture, num_classes: int) -> LayerPlan | None:
        """The network as a list of its layers, from which its costs follow by arithmetic; None where the family has none, and
        its costs come from running the network on shapes."""
        return None

    def weight_layouts(self, architecture: Architecture) -> Sequence[WeightLayout]:
        """The layouts in which others publish weights of this network; our own needs none."""
        return ()

    def larger(self, architecture: Architecture, axis: Axis) -> Sequence[Architecture]:
        """Points reachable by growing this axis alone, in order: on an axis of numbers the cost never falls, which strategies
        count on; choices that are words (kinds of layers) may cost more or less."""
        return self._moved(architecture, axis, self._around(architecture, axis)[1])

    def smaller(self, architecture: Architecture, axis: Axis) -> Sequence[Architecture]:
        """Points reachable by shrinking this axis alone, the nearest first (for contraction)."""
        return self._moved(architecture, axis, self._around(architecture, axis)[0][::-1])

    def rungs(self, architecture: Architecture, axis: Axis) -> Sequence[Value]:
        """The values of an axis worth trying from here, in the order in which it grows; `larger` and `smaller` climb them."""
        return axis.choices

    def value_on(self, architecture: Architecture, axis: Axis) -> Value | None:
        """Where an architecture stands on an axis; None where it is not on it (a network without a split point)."""
        return architecture.as_dict().get(axis.parameter)

    def published_growth(self, architecture: Architecture, axis: Axis) -> Architecture | None:
        """The paper's own fixed step along this axis, or None where it gives none."""
        return None

    def canonical(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values that build the same network, in the one form all such values share. Where an axis is about several
        values at once (a split point), its own name is among `values` when it was given, and not in the answer.

        Raises:
            UsageError: values that are legal alone but not together, such as a clip too short for the network.
        """
        return values

    @property
    def start(self) -> Architecture:
        """Where a search begins."""
        return self.architecture()

    def build(self, architecture: Architecture, num_classes: int) -> nn.Module:
        """The network, freshly initialised from torch's current random state."""
        network, arguments = self.constructor(architecture, num_classes)
        return network(**arguments)

    def architecture(self, **values: object) -> Architecture:
        """The canonical point with these values; what is not named is as at the start.

        Raises:
            UsageError: a name or a value that is not of this family.
        """
        axis_of = {axis.parameter: axis for axis in self.axes}
        for name in values:
            if name not in axis_of:
                raise unknown(f"{self.name} parameter", name, axis_of)
        chosen = {name: axis_of[name].check(value) for name, value in (self.start_values() | values).items()}
        return Architecture(self.name, tuple(self.canonical(chosen).items()))

    def point(self, name: str, **values: object) -> Architecture:
        """A named point, case not minded, with other values where some are given.

        Raises:
            UsageError: there is no such point, parameter or value.
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

    def _moved(self, architecture: Architecture, axis: Axis, values: Sequence[Value]) -> list[Architecture]:
        """The distinct networks with these values of an axis, in order, this one and impossible ones left out."""
        found: dict[Architecture, None] = {}
        for value in values:
            with contextlib.suppress(UsageError):
                found[self.architecture(**(architecture.as_dict() | {axis.parameter: value}))] = None
        found.pop(architecture, None)
        return list(found)

    def _around(self, architecture: Architecture, axis: Axis) -> tuple[list[Value], list[Value]]:
        """The rungs of an axis below and above where an architecture stands."""
        here, rungs = self.value_on(architecture, axis), list(self.rungs(architecture, axis))
        if here in rungs:
            return rungs[: rungs.index(here)], rungs[rungs.index(here) + 1 :]
        if not isinstance(here, (int, float)):
            return [], []
        numbers = [rung for rung in rungs if isinstance(rung, (int, float))]
        return [rung for rung in numbers if rung < here], [rung for rung in numbers if rung > here]


# --- widths and other numbers that round -----------------------------------------------------------------------------


def scaled(width: float, channels: int) -> int:
    """So many times these channels, to the nearest whole number, at least one."""
    return max(1, math.floor(width * channels + 0.5))


def plain_width(width: float, channels: Collection[int]) -> float:
    """The plainest number that scales each of these channel counts to the same as `width` does."""
    counts = {base: scaled(width, base) for base in channels}
    high = min((count + 0.5) / base for base, count in counts.items())
    low = max(((count - 0.5) / base for base, count in counts.items() if count > 1), default=high / 2)  # above nothing
    return plainest(low, high)


def whole_steps(axis: Axis, here: int, step: int) -> range:
    """The whole values of an axis in steps of `step`, `here` among them."""
    return range(int(axis.low) + (here - int(axis.low)) % step, int(axis.high) + 1, step)


def plainest(low: float, high: float) -> float:
    """The number in [low, high) with the fewest decimals, the one nearest the middle among those: for the one value that
    stands for all that round to the same network."""
    for digits in range(10):
        scale = 10**digits
        first, last = math.ceil(round(low * scale, 6)), math.ceil(round(high * scale, 6)) - 1
        if first <= last:
            middle = min(max(round((low + high) / 2 * scale), first), last)
            return middle / scale
    return low
