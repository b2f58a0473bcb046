"""Commands that score videos: `expand test` and `expand predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from expand.cli import shared_options as shared


@shared.app.command(
    rich_help_panel=shared.NETWORKS,
    epilog="Such as: expand test runs/x3d_stepwise-demo --best top1, expand test RUN --trial 5 --views 10x3 --crop 128",
)
def test(
    run: shared.Run,
    trial: shared.Trial = None,
    best: shared.Best = None,
    under: shared.Under = None,
    all_front: shared.AllFront = False,
    views: Annotated[
        str, typer.Option(metavar="CLIPSxCROPS", help="Clips in time by crops in space: 1 (centre) or 3.")
    ] = "10x3",
    crop: Annotated[
        int | None,
        typer.Option(max=shared.MOST_PIXELS, help="Side of the crops in pixels (default: as in training)."),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Short side of the frame over the crop (default: objects as large as in training)."),
    ] = None,
    split: Annotated[str, typer.Option(help="test or val.")] = "test",
    data: Annotated[str | None, typer.Option(help="Other videos of the same classes.")] = None,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave out videos that cannot be decoded.")
    ] = False,
    loader_workers: Annotated[
        int | None,
        typer.Option(min=0, max=64, help="Processes that read videos (default: the study's, on a GPU up to 4)."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Score again instead of reading the stored result.")] = False,
    trust: shared.Trust = False,
    as_json: shared.Json = False,
) -> None:
    """Score trained networks on the test split, each video with all its views; the only command that uses this split."""
    from expand.cli.scoring import show_tests
    from expand.evaluation.test_split import Question
    from expand.report.choosing import Choice
    from expand.training.multi_view import Views

    question = Question(Views.parse(views), split, crop, scale, data, skip_damaged, again, loader_workers)
    show_tests(run, question, Choice(trial, best, under, all_front), as_json=as_json, trust=trust)


@shared.app.command(
    rich_help_panel=shared.NETWORKS,
    epilog="Such as: expand predict my_network clip.mp4, expand predict runs/x3d_stepwise-demo:12 a.mp4 b.mp4 --json",
)
def predict(
    network: Annotated[str, typer.Argument(metavar="FOLDER|RUN:TRIAL", help="An export folder, or a trial of a run.")],
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Video files.")],
    views: Annotated[int, typer.Option(min=1, help="Clips evenly spaced over the video, averaged.")] = 10,
    top: Annotated[int, typer.Option(min=1, help="Number of classes to print.")] = 5,
    device: Annotated[str | None, typer.Option(help="Such as cpu or cuda:0 (default: the fastest).")] = None,
    trust: shared.Trust = False,
    as_json: shared.Json = False,
) -> None:
    """Classify video files: the most probable classes by an exported network or one of a run."""
    from expand.cli.scoring import show_predictions

    if not show_predictions(network, videos, views=views, top=top, device=device, as_json=as_json, trust=trust):
        raise typer.Exit(2)
