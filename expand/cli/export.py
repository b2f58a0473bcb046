"""`expand export` and `expand weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from expand.cli.shared_options import Json, Run, Trust, app


@app.command(
    epilog="Such as: expand export RUN --under gmacs=0.01 --to my_network, expand export RUN --all-front --onnx --to front"
)
def export(
    run: Run,
    to: Annotated[Path, typer.Option(help="The folder to write.")],
    under: Annotated[
        str | None, typer.Option(metavar="COST=X", help="The most accurate within a cost, such as gmacs=0.01.")
    ] = None,
    trial: Annotated[int | None, typer.Option(help="This trial.")] = None,
    best: Annotated[str | None, typer.Option(help="The best by an objective, such as top1.")] = None,
    all_front: Annotated[
        bool, typer.Option("--all-front", help="Every network on the front, in a folder each.")
    ] = False,
    pt2: Annotated[bool, typer.Option("--pt2", help="Also model.pt2, for torch.export.load.")] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also model.onnx; needs the extra of that name.")] = False,
    force: Annotated[bool, typer.Option(help="Replace an earlier export.")] = False,
    trust: Trust = False,
) -> None:
    """Export networks: a folder with source, weights and model card that needs only torch."""
    from expand.export.bundle import export_run

    formats = [file for file, wanted in (("model.pt2", pt2), ("model.onnx", onnx)) if wanted]
    export_run(
        run, to, under=under, trial=trial, best=best, all_front=all_front, formats=formats, force=force, trust=trust
    )


@app.command(epilog="Such as: expand weights X3D_M.pyth, expand weights X3D_M.pyth x3d --point M")
def weights(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An export's folder, or a file of weights of any layout.")
    ],
    space: Annotated[
        str | None, typer.Argument(metavar="SPACE", help="A search space (default: search all of ours).")
    ] = None,
    values: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Such as depth=2.2 width=1.")
    ] = None,
    point: Annotated[str | None, typer.Option(help="A published network by name, such as XL.")] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="Classes of the last layer (default: the family's published number).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the content of a file of weights, which networks it fits, and which tensors a given network would use."""
    from expand.cli import listing
    from expand.core.errors import UsageError

    if space is None:
        if point is not None or classes is not None:
            raise UsageError("--point and --classes need a search space, such as: expand weights FILE x3d --point M")
        return listing.show_weight_file(file, as_json=as_json)
    listing.show_matched(file, space, values or [], point, classes, as_json=as_json)
