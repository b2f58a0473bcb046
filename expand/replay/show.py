"""The output of `expand bench`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Columns

from expand.config.loading import load_space
from expand.core.errors import UsageError
from expand.core.files import json_bytes
from expand.replay.baselines import STRATEGIES
from expand.replay.bench import Interval, Row, bench, once
from expand.replay.table import Table, load

HEADINGS = (
    "strategy", "MACs %", "regret", "minus all once", "by the model", "same choice %", "trained", "finished", "95 %", "99 %",
)  # fmt: skip


def show_bench(
    names: Sequence[str], path: Path, shares: Sequence[float], repeats: int, workers: int, console: Console | None
) -> None:
    """Prints a row per strategy and budget, or JSON without a console.

    Raises:
        UsageError: an unknown strategy, a share that is none, or no table.
    """
    for name in names:
        if name not in STRATEGIES:
            near = difflib.get_close_matches(name, STRATEGIES, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise UsageError(f"unknown strategy '{name}'{hint} (there are: {', '.join(STRATEGIES)})")
    for share in shares:
        if not 0 < share <= 10:
            raise UsageError(f"--share {share:g}: above 0, at most 10")
    table = load(path, load_space)
    chosen = {name: STRATEGIES[name] for name in names}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("replays", total=len(names) * len(shares) * repeats)
        rows = bench(table, chosen, shares, repeats=repeats, workers=workers, on_replay=lambda: progress.advance(task))
    rows.insert(0, once(table, repeats))
    if console is None:
        print(
            json_bytes(
                {"table": table.name, "repeats": repeats, "rows": [asdict(row) for row in rows]}, indent=1
            ).decode()
        )
        return
    _print(console, table, rows, repeats)


def _print(console: Console, table: Table, rows: Sequence[Row], repeats: int) -> None:
    title = (
        f"{table.name}: {len(table.networks)} networks, {table.seeds} seeds, {table.epochs} epochs; {repeats} replays"
    )
    columns = Columns(title=title, title_justify="left")
    for heading in HEADINGS:
        columns.add_column(heading, justify="left" if heading == "strategy" else "right")
    for row in rows:
        columns.add_row(
            row.strategy, f"{100 * row.spent:.0f}", _points(row.regret), _points(row.excess, sign=True),
            _points(row.believed, sign=True),
            f"{100 * row.agreement.mean:.0f}", f"{row.trainings[0]:.1f}", f"{row.trainings[1]:.1f}",
            *(f"{100 * share:.0f}" for share in row.reached),
        )  # fmt: skip
    console.print(columns)
    console.print(
        "regret: top-1 points lost against the best network at each cost, averaged over log cost, with its 95 % interval\n"
        "over replays. minus all once: points lost against training every network once, by a seed that neither saw.\n"
        "by the model: so, if the choice is by what a model of the finished trainings expects, not by what each showed.\n"
        "same choice: share of the costs at which another full training chooses the same network.\n"
        "95 %, 99 %: replays that reach this share of the table's front.",
        highlight=False,
    )  # fmt: skip


def _points(value: Interval, *, sign: bool = False) -> str:
    form = "+.2f" if sign else ".2f"
    return f"{100 * value.mean:{form}} [{100 * value.low:{form}}, {100 * value.high:{form}}]"
