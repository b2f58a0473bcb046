"""`expand run` and `expand train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from expand.cli.shared_options import MOST_COUNT, MOST_PIXELS, StudyName, Trust, app
from expand.core import signals


@app.command(
    epilog="Such as: expand run x3d_stepwise, expand run x3d_stepwise --data my_videos --workers 4 --set recipe.epochs=30, "
    "expand run mcx_split --limit 'gmacs<=0.1' --budget-hours 8 --out runs/mcx, expand run ./my_study.py --track tensorboard"
)
def run(
    study: StudyName,
    data: Annotated[str | None, typer.Option(help="A folder or list of videos (default: rendered clips).")] = None,
    out: Annotated[Path | None, typer.Option(help="The run directory (default: runs/STUDY-SCALE).")] = None,
    workers: Annotated[
        int | None, typer.Option(max=MOST_PIXELS, help="Trials in parallel; 0 trains in this process without Ray.")
    ] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="Such as 0.25: four trials share a GPU.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The training seed, instead of the study's.")] = None,
    scale: Annotated[
        str, typer.Option(help="demo: minutes on two cores; paper: the published recipe and regime.")
    ] = "demo",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any field of the study, such as recipe.epochs=3; `expand list STUDY` shows all.",
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COST<=X", help="Train nothing above this, such as 'gmacs<=2', 'params_m<=4', 'latency_ms<=30'."
        ),
    ] = None,
    budget_hours: Annotated[
        float | None, typer.Option(help="Plan first (a minute), and refuse a run that takes longer.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster; 'auto' finds one (default: a private one).")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="An Optuna storage URL instead of SQLite in the run; a password belongs in EXPAND_STORAGE."),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRACKER", help="tensorboard, mlflow or wandb: also writes curves for it; may be repeated."
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Resume although the study or the data have changed.")] = False,
    trust: Trust = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Train trials that have failed again.")] = False,
) -> None:
    """Run a study or resume it, with the same command. Ends with the front, and the ledger or the comparison over seeds."""
    _start_numpy()
    from rich.console import Console

    from expand.config.request import Request
    from expand.monitoring.trackers import check
    from expand.search.worker_plan import plan_workers
    from expand.source.trust import require_own

    if not trust:
        require_own(study)
    request = Request(study, scale, tuple(set_ or ()), data, seed, tuple(limit or ()))
    chosen = request.study()
    folder = out or request.default_folder(chosen)
    plan = plan_workers(workers, gpus_per_trial, address)
    trackers = check(track or (), plan.count)
    console = Console()
    title = f"{chosen.name} ({scale})"
    console.print(f"{title} in {folder}, {plan.described()}", highlight=False, markup=False)
    if budget_hours is not None:
        from expand.planning.planned_run import within_budget

        within_budget(
            request, folder, plan, budget_hours, lambda text: console.print(text, highlight=False, markup=False)
        )
    _to_the_end(
        console, title, request, folder, plan, storage=storage, force=force, track=trackers, retry_failed=retry_failed
    )


def _start_numpy() -> None:
    """Imports numpy with signals blocked: its threads must not receive signals meant for the main thread, as Ray handles them."""
    with signals.blocked():
        import numpy  # noqa: F401


def _to_the_end(
    console: Any,
    title: str,
    request: Any,
    folder: Path,
    plan: Any,
    *,
    storage: str | None = None,
    force: bool = False,
    track: Any = (),
    retry_failed: bool = False,
) -> None:
    """Runs a request, prints the results and the paths."""
    import shlex

    from expand.core.errors import ExpandError
    from expand.monitoring.progress import watcher
    from expand.report.run_report import summary
    from expand.search.run import run

    place = shlex.quote(str(folder))
    again = f"run the same command again to resume ({folder})"
    try:
        with watcher(console, title) as watch:
            record = run(
                request, folder, plan, watch, storage=storage, force=force, track=track, retry_failed=retry_failed
            )
    except signals.Interrupted as interrupted:
        print(f"expand: {interrupted}; {again}", file=sys.stderr)
        signals.leave(interrupted.exit_code)
    if not summary(record, console):
        raise ExpandError(f"no candidate is complete; `expand status {place}` shows the reasons")
    names = ("index.html", "front.png", "front.csv", "trials.csv", "ledger.md", "comparison.md", "planned.md")
    written = ", ".join(name for name in names if (record.folder / "report" / name).exists())
    for line in (
        "",
        f"report     {folder}/report/{written}",
        f"dashboard  expand dashboard {place}",
        f"export     expand export {place} --best top1 --to my_network",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command(
    epilog="Such as: expand train runs/x3d_stepwise-demo --trial 12 --epochs 100 --set recipe.ema=0.999, "
    "expand train x3d --point S --data kinetics, expand train runs/x3d_stepwise-demo --trial 12 --data mine --weights same"
)
def train(
    source: Annotated[str, typer.Argument(metavar="RUN|SPACE", help="A run directory, or a search space.")],
    values: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="With a space: such as frames=6 width=1.3.")
    ] = None,
    trial: Annotated[int | None, typer.Option(min=0, help="With a run: the trial whose network is trained.")] = None,
    point: Annotated[str | None, typer.Option(help="With a space: a published network by name, such as S.")] = None,
    recipe_of: Annotated[
        str | None, typer.Option(metavar="STUDY", help="With a space: the study whose recipe trains it.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(max=MOST_COUNT, help="Stretch the whole schedule to so many epochs.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="The study's recipe at this scale, demo or paper (default: a run's own).")
    ] = None,
    data: Annotated[str | None, typer.Option(help="A folder or list of videos (default: a run's own).")] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE|same", help="Start from these weights, or from the trial's own.")
    ] = None,
    freeze: Annotated[bool, typer.Option("--freeze", help="With --weights: only the head learns.")] = False,
    seeds: Annotated[str | None, typer.Option(metavar="0,1,2", help="One training each.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A field of recipe or data, such as recipe.ema=0.999; `expand list STUDY` shows all.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run directory (default: runs/train-...).")] = None,
    workers: Annotated[
        int, typer.Option(max=MOST_PIXELS, help="Seeds in parallel on Ray; 0 trains in this process, one by one.")
    ] = 0,
    gpus_per_trial: Annotated[float | None, typer.Option(help="Such as 0.5: two seeds share a GPU.")] = None,
    calibrate: Annotated[bool, typer.Option(help="Time real training steps first, to predict the duration.")] = True,
    trust: Trust = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Train trials that have failed again.")] = False,
) -> None:
    """Train one network fully: of a run, or a published one. The same command resumes; `expand export` exports the result."""
    _start_numpy()
    from rich.console import Console

    from expand.cli import full_training
    from expand.search.worker_plan import plan_workers

    wishes = full_training.Wishes(
        epochs, scale, data, tuple(set_ or ()), full_training.parse_seeds(seeds), weights, freeze, trust
    )
    request = full_training.request(source, trial, point, values or [], recipe_of, wishes)
    chosen = request.study()
    folder = out or request.default_folder(chosen)
    plan, console = plan_workers(workers, gpus_per_trial), Console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(f"{chosen.name} in {folder}, {plan.described()}")
    full_training.announce(request, folder, plan, say, calibrated=calibrate)
    _to_the_end(console, chosen.name, request, folder, plan, retry_failed=retry_failed)
