"""`expand plan` and `expand measure`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from expand.cli import shared_options as shared


@shared.app.command(
    rich_help_panel=shared.MEANS,
    epilog="Such as: expand measure x3d --training --batch 8, expand measure x3d c3d mixed_conv --below 45, "
    "expand measure mixed_conv --point R3D frames=16",
)
def measure(
    spaces: Annotated[
        list[str],
        typer.Argument(
            metavar="SPACE... [NAME=VALUE]...",
            help="Search spaces (ours, a dotted name, a file); for a single one also values, such as frames=6 width=1.3.",
        ),
    ],
    point: Annotated[list[str] | None, typer.Option(help="A published network by name; may be repeated.")] = None,
    below: Annotated[
        float, typer.Option(metavar="GMACS", help="Without a network: all named ones up to this cost.")
    ] = 2.0,
    batch: Annotated[int | None, typer.Option(min=1, help="Clips per batch (default: 1, or 8 when training).")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the processor.")] = 1,
    repeats: Annotated[int, typer.Option(min=3, help="Timed runs; fewer if they take more than half a minute.")] = 20,
    training: Annotated[bool, typer.Option("--training", help="A whole training step instead of inference.")] = False,
    as_json: shared.Json = False,
) -> None:
    """Measure time and memory of networks on this machine, beside their multiply-adds."""
    from expand.cli.measure_tables import show_measured

    show_measured(
        spaces, point or [], below=below, batch=batch or (8 if training else 1), threads=threads,
        repeats=repeats, training=training, as_json=as_json,
    )  # fmt: skip


@shared.app.command(
    rich_help_panel=shared.SEARCH,
    epilog="Such as: expand plan x3d_stepwise, expand plan mcx_split --data my_videos --workers 4 --keep runs/mcx, "
    "expand plan x3d_stepwise --scale paper --no-calibrate --wins bottleneck,frames",
)
def plan(
    study: shared.StudyName,
    data: shared.Videos = None,
    videos: Annotated[
        int | None,
        typer.Option(
            min=1, max=shared.MOST_COUNT, help="Number of training videos, to plan without any; with --classes."
        ),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=2, max=shared.MOST_COUNT, help="Number of classes; with --videos.")
    ] = None,
    workers: shared.Workers = None,
    gpus_per_trial: shared.GpusPerTrial = None,
    seed: shared.Seed = None,
    scale: shared.Scale = "demo",
    settings: shared.Settings = None,
    recipe_axes: shared.RecipeAxes = None,
    limits: shared.Limits = None,
    wins: Annotated[
        str | None,
        typer.Option(metavar="AXIS,...", help="Also simulate this trajectory: the axes that win, step by step."),
    ] = None,
    calibrate: shared.Calibrate = True,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Store it in this run directory, to compare it with the run later."),
    ] = None,
    as_json: shared.Json = False,
) -> None:
    """Predict the cost of a study before it starts: networks, multiply-adds, hours, memory, disk."""
    from rich.console import Console

    from expand.cli.listing import print_json
    from expand.config.request import Request
    from expand.planning import planned_run as planning
    from expand.search.worker_plan import plan_workers
    from expand.storage.serialize import to_plain

    request = Request(
        study, scale, tuple(settings or ()), data, seed, tuple(limits or ()), recipe_axes=tuple(recipe_axes or ())
    )
    made = planning.plan_study(
        request, plan_workers(workers, gpus_per_trial), videos=videos, classes=classes, calibrated=calibrate,
        wins=[name.strip() for name in (wins or "").split(",") if name.strip()],
        note=lambda text: print(text, file=sys.stderr, flush=True),
    )  # fmt: skip
    if keep is not None:
        planning.keep(made, keep)
    if as_json:
        return print_json(to_plain(made))
    planning.print_plan(Console(), made)
