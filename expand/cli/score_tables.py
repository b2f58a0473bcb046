"""The output of `expand scores`: scores of untrained networks, and how well they rank trained ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Columns
from rich.text import Text

from expand.cli.listing import parse_values, print_json
from expand.config.loading import load_space
from expand.core.errors import unknown
from expand.core.space import Architecture
from expand.counting.cost import MacsCounter
from expand.counting.scores import FROM_SHAPES, SCORES
from expand.replay.bench import DRAWS
from expand.replay.ranks import (
    NEAR,
    Floats,
    Measured,
    Rank,
    Trained,
    Verdict,
    of_run,
    of_table,
    ranks,
    require_enough,
)
from expand.replay.table import load

SAID: dict[Verdict, str] = {
    "may steer": "yes", "not shown to beat macs": "unclear", "worse than macs": "no", "what to beat": "",
}  # fmt: skip


def show_scores(
    reference: str,
    values: Sequence[str],
    point: str | None,
    names: Sequence[str],
    classes: int | None,
    *,
    as_json: bool,
) -> None:
    """Scores of one network, or of all published points of a space.

    Raises:
        UsageError: an unknown score, space, point or value.
    """
    chosen, space = _known(names) or FROM_SHAPES, load_space(reference)
    if point is not None:
        networks = {point: space.point(point, **parse_values(values))}
    elif values:
        networks = {"": space.architecture(**parse_values(values))}
    else:
        networks = dict(space.points)
    counter = MacsCounter(space, classes or space.num_classes)
    found = _all(counter, list(networks.values()), chosen)
    if as_json:
        return print_json({
            "space": space.name, "classes": counter.num_classes,
            "networks": [
                {"point": name or None, "architecture": network.as_dict()}
                | {"scores": {score: float(found[score][row]) for score in chosen}}
                for row, (name, network) in enumerate(networks.items())
            ],
        })  # fmt: skip
    table = Columns(title=f"{space.name}, {counter.num_classes} classes", title_justify="left")
    table.add_column("point", no_wrap=True)
    for score in chosen:
        table.add_column(score, justify="right")
    for row, name in enumerate(networks):
        table.add_row(name, *(_figure(score, found[score][row]) for score in chosen))
    console = Console(highlight=False)
    console.print(table)
    for name, network in networks.items():
        console.print(Text(f"  {name}{': ' if name else ''}{network}"))
    console.print("larger promises more; whether trained networks agree: expand scores --table TABLE")


def show_ranks(place: Path, names: Sequence[str], *, as_json: bool, trust: bool = False) -> None:
    """How well scores rank the networks of a table or of a run directory, beside plain multiply-adds.

    Raises:
        UsageError: an unknown score; neither a table nor a run; fewer than eight trained networks; a run whose code is not
            trusted.
        ScoreError: a network has no finite score.
    """
    chosen = tuple(dict.fromkeys(("macs", *(_known(names) or SCORES))))
    trained = of_run(place, trust=trust) if place.is_dir() else of_table(load(place, load_space))
    require_enough(trained)
    found = _all(trained, trained.networks, chosen)
    rows = ranks(trained, found)
    if as_json:
        return print_json(_plain(trained, rows, found))
    low, high = trained.seeds
    seeds = f"{low}" if low == high else f"{low} to {high}"
    title = f"{trained.name}: {len(trained.networks)} networks, top-1 is the mean of {seeds} seed{'s' * (high > 1)}"
    table = Columns(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False)
    table.padding, table.pad_edge = (0, 0), False
    for heading in ("score", "tau", "minus macs", "at equal cost", "steers"):
        table.add_column(heading, justify="left" if heading in ("score", "steers") else "right", no_wrap=True)
    for row in rows:
        gain = "" if row.score == "macs" else _interval(row.gain, sign=True)
        table.add_row(row.score, _interval(row.tau), gain, _interval(row.near), SAID[row.verdict])
    console = Console(highlight=False)
    console.print(table)
    for line in (
        "tau: Kendall's rank correlation with top-1, with its 95 % interval over networks",
        f"at equal cost: of the pairs whose multiply-adds differ by at most {NEAR:.2f} times",
        "steers: a search may use it, as the whole interval of `minus macs` is above 0",
    ):
        console.print(line)


def _plain(trained: Trained, rows: Sequence[Rank], found: dict[str, Floats]) -> dict[str, Any]:
    return {
        "table": trained.name, "seeds": list(trained.seeds), "draws": DRAWS, "near": NEAR,
        "scores": [asdict(row) | {"may_steer": row.verdict == "may steer"} for row in rows],
        "networks": [
            {"architecture": network.as_dict(), "top1": float(trained.top1[row])}
            | {"scores": {name: float(values[row]) for name, values in found.items()}}
            for row, network in enumerate(trained.networks)
        ],
    }  # fmt: skip


def _known(names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if name not in SCORES:
            raise unknown("score", name, SCORES)
    return tuple(dict.fromkeys(names))


def _all(scored: MacsCounter | Trained, networks: Sequence[Architecture], names: Sequence[str]) -> dict[str, Floats]:
    """Each score of each network, with a progress bar on stderr."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("scores", total=len(names) * len(networks))
        found = {}
        for name in names:
            values = []
            for network in networks:
                values.append(scored.score(name, network))
                progress.advance(task)
            found[name] = np.array(values)
    return found


def _figure(score: str, value: float) -> str:
    return f"{value:,.0f}" if score in ("macs", "params") else f"{value:.4g}" if value < 1000 else f"{value:,.1f}"


def _interval(value: Measured, *, sign: bool = False) -> str:
    form = "+.2f" if sign else ".2f"
    return f"{value.value:{form}} [{value.low:{form}},{value.high:{form}}]"
