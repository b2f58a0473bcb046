"""`expand grow`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from expand.cli import shared_options as shared


@shared.app.command(
    rich_help_panel=shared.NETWORKS,
    epilog="Such as: expand grow runs/x3d_stepwise-demo --trial 12 --axis depth, "
    "expand grow runs/x3d_stepwise-demo --trial 12 frames=8 width=1.3 --epochs 20",
)
def grow(
    run: shared.Run,
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Such as depth=2.2; the others are the trial's."),
    ] = None,
    trial: Annotated[int, typer.Option(min=0, help="The trial whose weights the larger network starts from.")] = ...,  # type: ignore[assignment]
    axis: Annotated[
        str | None, typer.Option(help="Grow this axis alone until the cost has about doubled, or to its next choice.")
    ] = None,
    point: Annotated[str | None, typer.Option(help="Grow to a named point of the space, such as XL.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, max=shared.MOST_COUNT, help="Epochs (default: half of the run's).")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The training seed (default: the trial's).")] = None,
    workers: shared.Workers = 0,
    gpus_per_trial: shared.GpusPerTrial = None,
    trust: shared.Trust = False,
    retry_failed: shared.RetryFailed = False,
) -> None:
    """Train a larger network from a trial's weights, as a further trial of its run. The same command resumes."""
    from expand.cli.growing import Target, ended, order
    from expand.cli.run import Start, start_numpy, to_the_end
    from expand.search.worker_plan import plan_workers
    from expand.storage.run_directory import open_for_reading
    from expand.storage.stored_study import request_of

    start_numpy()
    record = open_for_reading(run)
    found = order(
        record, trial, Target(axis, point, tuple(values or ())),
        epochs=epochs, seed=seed, trust=trust, again=retry_failed,
    )  # fmt: skip
    request = replace(request_of(record.facts), grown=found.suggestion)
    start = Start.of(request, run, plan_workers(workers, gpus_per_trial))
    start.say(f"a larger network from trial {trial} of {run}, {start.workers.described()}")
    for line in found.lines:
        start.say(line)
    to_the_end(start, retry_failed=retry_failed)
    for line in ended(open_for_reading(run), found.suggestion):
        start.say(line)
