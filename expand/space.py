"""The nouns of a family: `Axis`, `Architecture`, `Clip`, and the `SearchSpace` that ties them together.

Standard library only. A family (`search_spaces/x3d.py` is the one to read) subclasses `SearchSpace`.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expand.errors import UsageError, unknown

if TYPE_CHECKING:
    from torch import nn

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
                if str(value) == str(choice):
                    return choice
            raise UsageError(f"{self.parameter}={value}: allowed are {', '.join(map(str, self.choices))}")
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
class Clip:
    """The clip that one stream of a network reads: a tensor (B, channels, frames, height, width), every `stride`-th
    frame of the source."""

    frames: int
    stride: int
    height: int
    width: int
    channels: int = 3

    @property
    def duration(self) -> int:
        """Source frames covered, the stride after the last frame included (the paper's "4x12 = 48")."""
        return self.frames * self.stride


class SearchSpace(ABC):
    """A family of networks: its axes, its start, and a network for each of its points.

    A space is frozen (a frozen dataclass whose fields are plain values), so that it can be written out and compared.
    """

    name: str
    axes: tuple[Axis, ...]

    @property
    @abstractmethod
    def start(self) -> Architecture:
        """Where a search begins."""

    @property
    @abstractmethod
    def points(self) -> Mapping[str, Architecture]:
        """The published networks of the family by name."""

    @abstractmethod
    def constructor(self, architecture: Architecture, num_classes: int) -> tuple[type[nn.Module], dict[str, Any]]:
        """The network's class and its plain keyword arguments; export writes exactly these."""

    @abstractmethod
    def inputs(self, architecture: Architecture) -> tuple[Clip, ...]:
        """The clip each stream of the network reads."""

    @abstractmethod
    def larger(self, architecture: Architecture, axis: Axis) -> Sequence[Architecture]:
        """Points reachable by growing this axis alone, cheapest first."""

    def smaller(self, architecture: Architecture, axis: Axis) -> Sequence[Architecture]:
        """Points reachable by shrinking this axis alone, most expensive first (for contraction)."""
        return ()

    def published_growth(self, architecture: Architecture, axis: Axis) -> Architecture | None:
        """The paper's own fixed step along this axis, or None where it gives none."""
        return None

    def canonical(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values that build the same network, in the one form all such values share."""
        return values

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

    @abstractmethod
    def start_values(self) -> dict[str, Any]:
        """The start's values in the order they are shown."""

    def axis(self, name: str) -> Axis:
        for axis in self.axes:
            if axis.name == name:
                return axis
        raise unknown(f"{self.name} axis", name, [axis.name for axis in self.axes])
