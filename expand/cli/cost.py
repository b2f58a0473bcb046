"""`expand cost`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from expand.cli.shared_options import MEANS, MOST_PIXELS, Classes, Json, Point, Values, app, names_in


@app.command(
    rich_help_panel=MEANS,
    epilog="Such as: expand cost x3d --point XL --crop 356 --views 10x3, expand cost x3d frames=6 width=1.3 --by stage, "
    "expand cost my_file.py:make_network --input 3x16x224x224, expand cost --papers --to docs/papers.md",
)
def cost(
    space: Annotated[
        str | None,
        typer.Argument(
            metavar="SPACE|MODULE:FACTORY",
            help="A search space (one of ours, a dotted name or a file), or a function that builds your own network.",
            autocompletion=names_in("search_spaces"),
        ),
    ] = None,
    values: Values = None,
    point: Point = None,
    classes: Classes = None,
    crop: Annotated[
        int | None, typer.Option(max=MOST_PIXELS, help="Side of the crop in pixels, for the cost in a test.")
    ] = None,
    views: Annotated[
        str | None, typer.Option(metavar="CLIPSxCROPS", help="Also the cost per video, such as 10x3: 30 clips.")
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="CxTxHxW", help="Input of your own network; once for each stream."),
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="stage|layer", help="The cost of each part of the network.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Count with fvcore on a forward pass too; must agree.")
    ] = False,
    papers: Annotated[
        bool, typer.Option("--papers", help="Published costs against ours (default: of all our spaces).")
    ] = False,
    to: Annotated[Path | None, typer.Option(help="With --papers: the file to write, instead of printing.")] = None,
    as_json: Json = False,
) -> None:
    """Count the exact cost of a network without running it; without a network, of all published points of the space."""
    from expand.cli import listing
    from expand.core.errors import UsageError

    if papers:
        if values or point is not None or classes is not None:
            raise UsageError("--papers takes no NAME=VALUE, --point or --classes: it is about all published points")
        if crop is not None or views is not None or input_ or by is not None or check:
            raise UsageError("--papers takes no --crop, --views, --input, --by or --check")
        return listing.show_papers(space, to, as_json=as_json)
    if to is not None:
        raise UsageError("--to needs --papers; costs are printed")
    if space is None:
        raise UsageError("which search space? `expand list` shows ours; --papers is about all of them")
    from expand.cli import cost_tables

    question = cost_tables.Question(classes, crop, views, by, check, as_json)
    if ":" in space:
        if values or point is not None:
            raise UsageError(f"{space} is your own network: it takes no NAME=VALUE and no --point")
        return cost_tables.show_network(space, input_ or [], question)
    if input_:
        raise UsageError("--input is for your own network (MODULE:FACTORY); a space's clip is set by its values")
    cost_tables.show_space(space, values or [], point, question)
