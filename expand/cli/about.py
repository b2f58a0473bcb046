"""`expand list` and `expand doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from expand.cli.shared_options import MEANS, SEARCH, Json, app, names_in


@app.command(
    "list",
    rich_help_panel=SEARCH,
    epilog="Such as: expand list, expand list x3d_stepwise, expand list ./my_study.py --scale paper --json",
)
def list_(
    study: Annotated[
        str | None,
        typer.Argument(
            help="A study: one of ours, a dotted name or a file; its fields are shown.",
            autocompletion=names_in("studies"),
        ),
    ] = None,
    scale: Annotated[str | None, typer.Option(help="With a study: demo (the default) or paper.")] = None,
    as_json: Json = False,
) -> None:
    """List the studies and search spaces; with a study, all its fields with value, type, default and meaning."""
    from expand.cli import listing
    from expand.core.errors import UsageError

    if study is not None:
        return listing.show_fields(study, scale or "demo", as_json=as_json)
    if scale is not None:
        raise UsageError(f"--scale {scale} needs a study, such as: expand list x3d_stepwise --scale {scale}")
    listing.show(as_json=as_json)


@app.command(rich_help_panel=MEANS, epilog="Such as: expand doctor, expand doctor --json")
def doctor(as_json: Json = False) -> None:
    """Check whether this machine has what a search needs."""
    from expand.cli import doctor as checks

    if not checks.show(as_json=as_json):
        raise typer.Exit(1)
