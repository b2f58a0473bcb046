"""`expand measure`: multiply-adds beside measured time and memory, and how well the one tells the other."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from expand.cost import cost_of
from expand.errors import UsageError
from expand.listing import parse_values, print_json
from expand.measure import Speed, measure_fresh
from expand.progress import format_bytes, format_macs
from expand.settings import load_space
from expand.space import Architecture, SearchSpace
from expand.study import Recipe


def show_measured(
    reference: str, values: Sequence[str], points: Sequence[str], *, below: float, batch: int, threads: int, repeats: int,
    training: bool, as_json: bool,
) -> None:  # fmt: skip
    """Measures networks of a space one after the other, each in a fresh process, and prints a table or JSON.

    Raises:
        UsageError: a point or value that is not of the space; a training batch of one; nothing below the limit.
    """
    if training and batch < 2:
        raise UsageError(f"--batch {batch}: batch norm trains on 2 clips or more")
    space = load_space(reference)
    named = _networks(space, values, points, below)
    costs = [cost_of(space, architecture, space.num_classes) for architecture in named.values()]
    speeds = []
    found = measure_fresh(
        space, list(named.values()), space.num_classes, Recipe(),
        training=training, batch=batch, threads=threads, repeats=repeats,
    )  # fmt: skip
    for name, speed in zip(named, found, strict=True):
        print(f"{name}: {speed.ms:.4g} ms", file=sys.stderr, flush=True)
        speeds.append(speed)
    macs = [cost.macs for cost in costs]
    rank = rank_correlation(macs, [speed.ms for speed in speeds])
    if as_json:
        return print_json({
            "space": space.name, "classes": space.num_classes, "rank_correlation_of_time_and_macs": rank,
            "networks": [
                {
                    "point": name, "architecture": architecture.as_dict(), "macs": cost.macs, "params": cost.params,
                    "activations": cost.activations, **speed.plain(),
                }
                for (name, architecture), cost, speed in zip(named.items(), costs, speeds, strict=True)
            ],
        })  # fmt: skip
    _print(space, list(named), macs, speeds, rank)


def _networks(
    space: SearchSpace, values: Sequence[str], points: Sequence[str], below: float
) -> dict[str, Architecture]:
    """What to measure, by name: given points, with other values where some are given; given values alone; else the named
    points that cost less than so many GMACs."""
    chosen = parse_values(values)
    if points:
        return {name: space.point(name, **chosen) for name in points}
    if chosen:
        architecture = space.architecture(**chosen)
        return {" ".join(values): architecture}
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


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's; None for fewer than three pairs, or where all are equal."""
    from scipy.stats import spearmanr

    if len(one) < 3 or len(set(one)) == 1 or len(set(other)) == 1:
        return None
    value = float(spearmanr(one, other).statistic)
    return round(value, 4) if math.isfinite(value) else None


def _print(
    space: SearchSpace, names: Sequence[str], macs: Sequence[int], speeds: Sequence[Speed], rank: float | None
) -> None:
    first = speeds[0]
    what = "training steps" if first.training else "inference"
    title = f"{space.name}, {what}: batch {first.batch}, {first.precision}, {_threads(first)}, {first.device}"
    table = Table(title=Text(title), title_justify="left")
    for name in ("point", "multiply-adds", "ms a clip", "± (half the middle)", "clips/s", "GMACs/s", "peak memory"):
        table.add_column(name, justify="left" if name == "point" else "right")
    times = 3 if first.training else 1  # forward and backward
    for name, count, speed in zip(names, macs, speeds, strict=True):
        table.add_row(
            Text(name), format_macs(count), f"{speed.ms_a_clip:.4g}", f"{speed.ms_iqr / 2 / speed.batch:.2g}",
            f"{speed.clips_a_second:.4g}", f"{times * count / 1e6 / speed.ms_a_clip:.3g}",
            format_bytes(speed.peak_bytes) if speed.peak_bytes else "unknown",
        )  # fmt: skip
    console = Console()
    console.print(table)
    repeats = sorted({speed.repeats for speed in speeds})
    shown = f"{repeats[0]}" if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]}"
    console.print(
        f"medians of {shown} runs; ± is half the interquartile range; memory is what the network adds to a fresh process",
        highlight=False,
    )
    if rank is not None:
        console.print(f"rank correlation (Spearman) of time and multiply-adds: {rank:.2f}", highlight=False)


def _threads(speed: Speed) -> str:
    return f"{speed.threads} thread{'s' if speed.threads > 1 else ''}"
