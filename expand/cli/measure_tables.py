"""`expand measure`: multiply-adds, measured time and memory, and their rank correlation."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from expand.cli.listing import parse_values, print_json
from expand.config.loading import load_space
from expand.core.attempt import Speed
from expand.core.errors import UsageError
from expand.core.space import Architecture, SearchSpace
from expand.core.study import Recipe
from expand.core.trial import Cost
from expand.core.units import format_bytes, format_macs
from expand.counting.cost import cost_of
from expand.profiling.benchmark import measure_fresh
from expand.storage.serialize import to_plain


@dataclass(frozen=True)
class Row:
    """One network: its space and name, its counted cost and the measurement."""

    space: SearchSpace
    name: str
    architecture: Architecture
    cost: Cost
    speed: Speed | None = None

    @property
    def ms(self) -> float:
        return self.speed.ms if self.speed else math.nan


def show_measured(
    references: Sequence[str], points: Sequence[str], *, below: float, batch: int, threads: int, repeats: int,
    training: bool, as_json: bool,
) -> None:  # fmt: skip
    """Measures networks one after the other, each in a fresh process, and prints a table or JSON. `references` are search
    spaces, followed by values (name=value) if there is only one space.

    Raises:
        UsageError: the space has no such point or value; values or points are given for several spaces; the training batch is 1;
            no network is below the limit.
    """
    if training and batch < 2:
        raise UsageError(f"--batch {batch}: training needs at least 2 clips, for batch norms")
    names, values = [r for r in references if "=" not in r], [r for r in references if "=" in r]
    if len(names) > 1 and (values or points):
        raise UsageError(f"values and --point need one space, not {', '.join(names)}")
    spaces = [load_space(name) for name in names]
    rows = [
        row for space in spaces for row in _measured(space, values, points, below, {
            "training": training, "batch": batch, "threads": threads, "repeats": repeats,
        })
    ]  # fmt: skip
    rank = _ranks(rows, spaces)
    if as_json:
        return print_json({
            "rank_correlation_of_time_and_macs": rank,
            "networks": [
                {
                    "space": row.space.name, "classes": row.space.num_classes, "point": row.name,
                    "architecture": row.architecture.as_dict(), "macs": row.cost.macs, "params": row.cost.params,
                    "activations": row.cost.activations, **(to_plain(row.speed) if row.speed else {}),
                }
                for row in rows
            ],
        })  # fmt: skip
    _print(rows, rank)


def _measured(
    space: SearchSpace, values: Sequence[str], points: Sequence[str], below: float, options: dict[str, Any]
) -> list[Row]:
    chosen = _networks(space, values, points, below)
    rows = [Row(space, name, a, cost_of(space, a, space.num_classes)) for name, a in chosen.items()]
    found = measure_fresh(space, list(chosen.values()), space.num_classes, Recipe(), **options)
    done = []
    for row, speed in zip(rows, found, strict=True):
        print(f"{space.name} {row.name}: {speed.ms:.4g} ms", file=sys.stderr, flush=True)
        done.append(replace(row, speed=speed))
    return done


def _networks(
    space: SearchSpace, values: Sequence[str], points: Sequence[str], below: float
) -> dict[str, Architecture]:
    """The networks to measure, by name: the given points, with other values if given; or the given values alone; otherwise the
    named points that cost less than `below` GMACs."""
    chosen = parse_values(values)
    if points:
        return {name: space.point(name, **chosen) for name in points}
    if chosen:
        return {" ".join(values): space.architecture(**chosen)}
    found = {
        name: architecture
        for name, architecture in space.points.items()
        if cost_of(space, architecture, space.num_classes).gmacs <= below
    }
    if not found:
        raise UsageError(
            f"--below {below:g}: every named point of {space.name} costs more GMACs; name one with --point"
        )
    return found


def _ranks(rows: Sequence[Row], spaces: Sequence[SearchSpace]) -> dict[str, float | None]:
    """Rank correlations over all networks and, if there are several spaces, within each."""
    groups = {"all": list(rows)}
    if len(spaces) > 1:
        groups |= {space.name: [row for row in rows if row.space is space] for space in spaces}
    return {
        name: rank_correlation([row.cost.macs for row in group], [row.ms for row in group])
        for name, group in groups.items()
    }


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None for fewer than three pairs, or if all values are equal."""
    from scipy.stats import spearmanr

    if len(one) < 3 or len(set(one)) == 1 or len(set(other)) == 1:
        return None
    value = float(spearmanr(one, other).statistic)
    return round(value, 4) if math.isfinite(value) else None


def _print(rows: Sequence[Row], rank: dict[str, float | None]) -> None:
    speeds = [row.speed for row in rows if row.speed]
    first, several = speeds[0], len({row.space.name for row in rows}) > 1
    what = "training steps" if first.training else "inference"
    title = "" if several else f"{rows[0].space.name}, "
    title += f"{what}: batch {first.batch}, {first.precision}, {_threads(first)}, {first.device}"
    table = Table(title=Text(title), title_justify="left")
    for heading in ("network", "MACs", "ms a clip", "±", "clips/s", "GMACs/s", "memory"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    times = 3 if first.training else 1  # forward and backward
    for row, speed in zip(rows, speeds, strict=True):
        table.add_row(
            Text(f"{row.space.name} {row.name}" if several else row.name), format_macs(row.cost.macs),
            f"{speed.ms_a_clip:.4g}", f"{speed.ms_iqr / 2 / speed.batch:.2g}", f"{speed.clips_a_second:.4g}",
            f"{times * row.cost.macs / 1e6 / speed.ms_a_clip:.3g}",
            format_bytes(speed.peak_bytes) if speed.peak_bytes else "unknown",
        )  # fmt: skip
    console = Console()
    console.print(table)
    repeats = sorted({speed.repeats for speed in speeds})
    shown = f"{repeats[0]}" if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]}"
    console.print(
        f"medians of {shown} runs; ± is half the interquartile range; memory is the peak that the network adds to a "
        "fresh process",
        highlight=False,
    )
    for name, value in rank.items():
        if value is not None:
            of = "" if len(rank) == 1 else " over all" if name == "all" else f" within {name}"
            console.print(f"rank correlation (Spearman) of time and multiply-adds{of}: {value:.2f}", highlight=False)


def _threads(speed: Speed) -> str:
    return f"{speed.threads} thread{'s' if speed.threads > 1 else ''}"
