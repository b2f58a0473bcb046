"""`expand bench`: strategies on a table of trained networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from expand.cli.shared_options import MEANS, Json, app


@app.command(
    rich_help_panel=MEANS,
    epilog="Such as: expand bench guided evolved random --table table.json.gz --share 0.25 --share 0.5 --repeats 50",
)
def bench(
    strategies: Annotated[
        list[str], typer.Argument(metavar="STRATEGY...", help="Names, such as guided, evolved, random.")
    ],
    table: Annotated[Path, typer.Option(metavar="FILE", help="A table of trained networks.")],
    share: Annotated[
        list[float] | None,
        typer.Option(metavar="SHARE", help="Budgets, as shares of training every network once (default: 0.25)."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=2, max=10_000, help="Replays of each strategy and budget.")] = 200,
    workers: Annotated[int, typer.Option(min=1, max=1000, help="Trainings in parallel.")] = 1,
    as_json: Json = False,
) -> None:
    """Replay search strategies on a table of trained networks: what they find for which share of the training."""
    from rich.console import Console

    from expand.replay.show import show_bench

    show_bench(strategies, table, tuple(share or (0.25,)), repeats, workers, None if as_json else Console())
