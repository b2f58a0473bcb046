"""A table of trained networks: every network of a small search space, trained with several seeds, with its learning curves.

On a table a strategy is replayed in seconds, because nothing is trained. A table is one gzipped JSON file:

    {"name", "about", "space": {"family", "fields"}, "epochs", "clips", "seeds": [0, 1, ...],
     "networks": [{"values": {...}, "macs", "params", "curves": [[top-1 after each epoch], ... one per seed]}, ...]}

Top-1 is of validation, from 0 to 1, with the number of clips that stands beside it.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expand.core.errors import UsageError
from expand.core.space import Architecture, Axis, SearchSpace, Value
from expand.core.trial import Cost
from expand.counting.cost import cost_of
from expand.counting.scores import FROM_COSTS, score_of


@dataclass(frozen=True)
class Table:
    """All trainings of a table. Called, it counts multiply-adds, as `Costs`.

    Attributes:
        space: the space that the networks are points of.
        networks: in a fixed order.
        costs: of each network.
        curves: (networks, seeds, epochs): validation top-1.
        clips: validation clips behind each top-1.
        about: data, recipe and machine, in words.
    """

    name: str
    space: SearchSpace
    networks: tuple[Architecture, ...]
    costs: tuple[Cost, ...]
    curves: NDArray[np.float64]
    clips: int
    about: str = ""

    @property
    def epochs(self) -> int:
        return int(self.curves.shape[2])

    @property
    def seeds(self) -> int:
        return int(self.curves.shape[1])

    @cached_property
    def index(self) -> dict[Architecture, int]:
        return {network: row for row, network in enumerate(self.networks)}

    @cached_property
    def gmacs(self) -> NDArray[np.float64]:
        return np.array([cost.gmacs for cost in self.costs])

    @property
    def truth(self) -> NDArray[np.float64]:
        """(networks,): the mean over seeds of the last epoch's top-1."""
        return np.asarray(self.curves[:, :, -1].mean(axis=1))

    def cost(self, architecture: Architecture) -> Cost:
        """As `Costs.cost`.

        Raises:
            KeyError: the network is not in the table.
        """
        return self.costs[self.index[architecture]]

    def __call__(self, architecture: Architecture) -> int:
        """As `Costs`: multiply-adds of one clip."""
        return self.cost(architecture).macs

    @cached_property
    def classes(self) -> int:
        """Classes of the networks' last layer, as their parameters tell: these grow evenly with the classes. Where they fit no
        whole number, the family's published number."""
        network, params = self.networks[0], self.costs[0].params
        one, two = (cost_of(self.space, network, number).params for number in (1, 2))
        more, rest = divmod(params - one, max(two - one, 1))
        return 1 + more if rest == 0 and more >= 0 else self.space.num_classes

    def score(self, name: str, architecture: Architecture) -> float:
        """As `Costs.score`."""
        if name in FROM_COSTS:
            return float(getattr(self.cost(architecture), name))
        return score_of(name, self.space, architecture, self.classes)


def save(table: Table, path: Path) -> None:
    """Writes the file; the same table gives the same bytes."""
    plain = {
        "name": table.name,
        "about": table.about,
        "space": {"family": table.space.name, "fields": _fields(table.space)},
        "epochs": table.epochs,
        "clips": table.clips,
        "seeds": list(range(table.seeds)),
        "networks": [
            {
                "values": network.as_dict(), "macs": cost.macs, "params": cost.params,
                "curves": [[round(float(value), 5) for value in curve] for curve in curves],
            }
            for network, cost, curves in zip(table.networks, table.costs, table.curves, strict=True)
        ],
    }  # fmt: skip
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as stream:
        stream.write(json.dumps(plain, separators=(",", ":")).encode())


def load(path: Path, space_of: Callable[[str], SearchSpace]) -> Table:
    """Reads a table.

    Args:
        space_of: the search space of a name, such as `expand.config.loading.load_space`.

    Raises:
        UsageError: no such file, not a table, or an unknown family.
    """
    try:
        plain: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
        family, fields = plain["space"]["family"], plain["space"]["fields"]
        space = replace(space_of(family), **{name: _frozen(value) for name, value in fields.items()})  # type: ignore[type-var]
        networks = tuple(space.architecture(**each["values"]) for each in plain["networks"])
        costs = tuple(Cost(each["macs"], each["params"], 0, 0, ()) for each in plain["networks"])
        curves = np.array([each["curves"] for each in plain["networks"]], dtype=float)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such table") from None
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, UsageError) as error:
        raise UsageError(f"{path}: no table of trained networks ({type(error).__name__}: {error})") from None
    return Table(plain["name"], space, networks, costs, curves, int(plain["clips"]), plain.get("about", ""))


def _frozen(value: Any) -> Any:
    """JSON has no tuples; the fields of spaces have no lists."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _fields(space: SearchSpace) -> dict[str, Any]:
    return {field.name: getattr(space, field.name) for field in fields(space)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class TableSpace(SearchSpace):
    """The networks of a table as a search space: the table's own space, in which only these may be searched."""

    table: Table

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.table.space.name

    @property
    def axes(self) -> tuple[Axis, ...]:  # type: ignore[override]
        return self.table.space.axes

    @property
    def points(self) -> dict[str, Architecture]:
        return {name: point for name, point in self.table.space.points.items() if point in self.table.index}

    @property
    def start(self) -> Architecture:
        """The space's start, or else the cheapest network."""
        start = self.table.space.start
        return start if start in self.table.index else self.table.networks[int(np.argmin(self.table.gmacs))]

    def start_values(self) -> dict[str, Any]:
        return dict(self.table.space.start_values())

    def architecture(self, **values: object) -> Architecture:
        return self.table.space.architecture(**values)

    def searched(self, architecture: Architecture) -> bool:
        return architecture in self.table.index

    def values(self, axis: Axis) -> list[Value]:
        """Those that its networks have."""
        found = {self.table.space.value_on(network, axis) for network in self.table.networks} - {None}
        order = {value: place for place, value in enumerate(axis.choices)}
        return sorted(found, key=lambda value: order.get(value, value))  # type: ignore[arg-type]

    def rungs(self, architecture: Architecture, axis: Axis) -> list[Value]:
        return self.values(axis)

    def value_on(self, architecture: Architecture, axis: Axis) -> Value | None:
        return self.table.space.value_on(architecture, axis)

    def constructor(self, architecture: Architecture, num_classes: int) -> Any:
        return self.table.space.constructor(architecture, num_classes)

    def inputs(self, architecture: Architecture) -> Any:
        return self.table.space.inputs(architecture)

    def __hash__(self) -> int:
        return id(self.table)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TableSpace) and other.table is self.table
