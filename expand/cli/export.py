"""`expand export` and `expand weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from expand.cli import shared_options as shared


@shared.app.command(
    rich_help_panel=shared.NETWORKS,
    epilog="Such as: expand export RUN --under gmacs=0.01 --to my_network, expand export RUN --all-front --onnx --to front",
)
def export(
    run: shared.Run,
    to: Annotated[Path, typer.Option(help="The folder to write.")],
    under: shared.Under = None,
    trial: shared.Trial = None,
    best: shared.Best = None,
    all_front: shared.AllFront = False,
    pt2: Annotated[bool, typer.Option("--pt2", help="Also model.pt2, for torch.export.load.")] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also model.onnx; needs the extra of that name.")] = False,
    force: Annotated[bool, typer.Option(help="Replace an earlier export.")] = False,
    trust: shared.Trust = False,
) -> None:
    """Export networks: a folder with source, weights and model card that needs only torch."""
    from expand.export.bundle import export_run
    from expand.report.choosing import Choice

    formats = [file for file, wanted in (("model.pt2", pt2), ("model.onnx", onnx)) if wanted]
    export_run(run, to, Choice(trial, best, under, all_front), formats=formats, force=force, trust=trust)


@shared.app.command(
    rich_help_panel=shared.MEANS, epilog="Such as: expand weights X3D_M.pyth, expand weights X3D_M.pyth x3d --point M"
)
def weights(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An export's folder, or a file of weights of any layout.")
    ],
    space: Annotated[
        str | None, typer.Argument(metavar="SPACE", help="A search space (default: search all of ours).")
    ] = None,
    values: shared.Values = None,
    point: shared.Point = None,
    classes: shared.Classes = None,
    as_json: shared.Json = False,
) -> None:
    """Show the content of a file of weights, which networks it fits, and which tensors a given network would use."""
    from expand.cli import listing
    from expand.core.errors import UsageError

    if space is None:
        if point is not None or classes is not None:
            raise UsageError("--point and --classes need a search space, such as: expand weights FILE x3d --point M")
        return listing.show_weight_file(file, as_json=as_json)
    listing.show_matched(file, space, values or [], point, classes, as_json=as_json)
