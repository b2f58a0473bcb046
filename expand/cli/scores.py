"""`expand scores`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from expand.cli.shared_options import MEANS, Classes, Json, Point, Trust, Values, app, names_in


@app.command(
    rich_help_panel=MEANS,
    epilog="Such as: expand scores x3d --point M --score entropy --score synflow, expand scores x3d frames=6 width=1.3, "
    "expand scores --table table.json.gz, expand scores --table runs/x3d_guided-demo",
)
def scores(
    space: Annotated[
        str | None,
        typer.Argument(
            metavar="SPACE", help="A search space (one of ours, a dotted name or a file).",
            autocompletion=names_in("search_spaces"),
        ),
    ] = None,
    values: Values = None,
    point: Point = None,
    table: Annotated[
        Path | None,
        typer.Option(metavar="FILE|RUN", help="How well scores rank the networks of a table, or of a run directory."),
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="macs, params, entropy, gradient_norm, synflow (default: the first three; all of them with --table).",
        ),
    ] = None,
    classes: Classes = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Score networks without training them; with --table, compare the scores with what trained networks reached."""
    from expand.cli.score_tables import show_ranks, show_scores
    from expand.core.errors import UsageError

    if table is not None:
        if space is not None or values or point is not None or classes is not None:
            raise UsageError("--table brings its own networks: it takes no SPACE, NAME=VALUE, --point or --classes")
        return show_ranks(table, score or (), as_json=as_json, trust=trust)
    if space is None:
        raise UsageError("which networks? name a search space (`expand list`), or a table or run with --table")
    if trust:
        raise UsageError("--trust is for a run: --table RUN")
    show_scores(space, values or (), point, score or (), classes, as_json=as_json)
