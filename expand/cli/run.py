"""`expand run` and `expand train`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from expand.cli import shared_options as shared
from expand.core import signals

if TYPE_CHECKING:
    from rich.console import Console

    from expand.config.request import Request
    from expand.search.worker_plan import Workers


@shared.app.command(
    rich_help_panel=shared.SEARCH,
    epilog="Such as: expand run x3d_stepwise, expand run x3d_stepwise --data my_videos --workers 4 --set recipe.epochs=30, "
    "expand run mcx_split --limit 'gmacs<=0.1' --budget-hours 8 --out runs/mcx, expand run ./my_study.py --track tensorboard",
)
def run(
    study: shared.StudyName,
    data: shared.Videos = None,
    out: Annotated[Path | None, typer.Option(help="The run directory (default: runs/STUDY-SCALE).")] = None,
    workers: shared.Workers = None,
    gpus_per_trial: shared.GpusPerTrial = None,
    seed: shared.Seed = None,
    scale: shared.Scale = "demo",
    settings: shared.Settings = None,
    recipe: Annotated[
        Path | None, typer.Option(help="The folder of an `expand tune`, whose recipe is used; --set still changes it.")
    ] = None,
    recipe_axes: shared.RecipeAxes = None,
    limits: shared.Limits = None,
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
    force: Annotated[
        bool, typer.Option(help="Resume although the study or the data have changed, or no network beats chance.")
    ] = False,
    trust: shared.Trust = False,
    retry_failed: shared.RetryFailed = False,
) -> None:
    """Run a study or resume it, with the same command. Ends with the front, and the ledger or the comparison over seeds."""
    start_numpy()
    from expand.config.request import Request
    from expand.monitoring.trackers import check
    from expand.search.worker_plan import plan_workers
    from expand.source.trust import require_own

    if not trust:
        require_own(study)
    request = Request(
        study, scale, tuple(settings or ()), data, seed, tuple(limits or ()), recipe_axes=tuple(recipe_axes or ())
    )
    if recipe is not None:
        request = _with_recipe(request, recipe)
    start = Start.of(request, out, plan_workers(workers, gpus_per_trial, address))
    trackers = check(track or (), start.workers.count)
    start.say(f"{start.title} in {start.folder}, {start.workers.described()}")
    start.say_recipe()
    if budget_hours is not None:
        from expand.planning.planned_run import within_budget

        within_budget(request, start.folder, start.workers, budget_hours, start.say)
    to_the_end(start, storage=storage, force=force, track=trackers, retry_failed=retry_failed)


def _with_recipe(request: Request, folder: Path) -> Request:
    """The request with the recipe of a tuning; what `--set` says comes after it."""
    from expand.storage.tuned import read_tuned

    tuned, place = read_tuned(folder)
    return replace(request, settings=(*tuned.chosen.settings, *request.settings), recipe_from=place)


def start_numpy() -> None:
    """Imports numpy with signals blocked: its threads must not receive signals meant for the main thread, as Ray handles them."""
    with signals.blocked():
        import numpy  # noqa: F401


@dataclass(frozen=True)
class Start:
    """A run that is about to start, and the console for its lines."""

    request: Request
    title: str
    folder: Path
    workers: Workers
    console: Console

    @staticmethod
    def of(request: Request, out: Path | None, workers: Workers) -> Start:
        from rich.console import Console

        study = request.study()
        title = study.name if request.alone else f"{study.name} ({request.scale})"
        return Start(request, title, out or request.default_folder(study), workers, Console())

    def say_recipe(self) -> None:
        """Where the recipe is from, or that it was made for other videos."""
        request = self.request
        if request.recipe_from:
            self.say(f"recipe from {request.recipe_from}")
        elif request.data and request.scale == "demo" and not any(s.startswith("recipe") for s in request.settings):
            from expand.search.run import tune_command

            self.say(f"the recipe was not made for these videos; `{tune_command(request)}` finds one")

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def to_the_end(
    start: Start,
    *,
    storage: str | None = None,
    force: bool = False,
    track: Sequence[str] = (),
    retry_failed: bool = False,
) -> None:
    """Runs a request, prints the results and the paths."""
    import shlex

    from expand.core.errors import ExpandError
    from expand.monitoring.progress import watcher
    from expand.report.run_report import summary
    from expand.search.run import run

    folder = shlex.quote(str(start.folder))
    try:
        with watcher(start.console, start.title) as watch:
            record = run(
                start.request, start.folder, start.workers, watch,
                storage=storage, force=force, track=track, retry_failed=retry_failed,
            )  # fmt: skip
    except signals.Interrupted as interrupted:
        print(f"expand: {interrupted}; run the same command again to resume ({start.folder})", file=sys.stderr)
        signals.leave(interrupted.exit_code)
    if not summary(record, start.console):
        raise ExpandError(f"no candidate is complete; `expand status {folder}` shows the reasons")
    names = (
        "index.html",
        "front.png",
        "front.csv",
        "trials.csv",
        "ledger.md",
        "comparison.md",
        "predicted.md",
        "planned.md",
    )
    written = ", ".join(name for name in names if (record.folder / "report" / name).exists())
    start.say(f"\nreport     {start.folder}/report/{written}")
    start.say(f"dashboard  expand dashboard {folder}")
    start.say(f"export     expand export {folder} --best top1 --to my_network")


@shared.app.command(
    rich_help_panel=shared.NETWORKS,
    epilog="Such as: expand train runs/x3d_stepwise-demo --trial 12 --epochs 100 --set recipe.ema=0.999, "
    "expand train x3d --point S --data kinetics, expand train runs/x3d_stepwise-demo --trial 12 --data mine --weights same",
)
def train(
    source: Annotated[str, typer.Argument(metavar="RUN|SPACE", help="A run directory, or a search space.")],
    values: shared.Values = None,
    trial: Annotated[int | None, typer.Option(min=0, help="With a run: the trial whose network is trained.")] = None,
    point: shared.Point = None,
    recipe_of: Annotated[
        str | None, typer.Option(metavar="STUDY", help="With a space: the study whose recipe trains it.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(max=shared.MOST_COUNT, help="Stretch the whole schedule to so many epochs.")
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
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A field of recipe or data, such as recipe.ema=0.999; `expand list STUDY` shows all.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run directory (default: runs/train-...).")] = None,
    workers: shared.Workers = 0,
    gpus_per_trial: shared.GpusPerTrial = None,
    calibrate: shared.Calibrate = True,
    trust: shared.Trust = False,
    retry_failed: shared.RetryFailed = False,
) -> None:
    """Train one network fully: of a run, or a published one. The same command resumes; `expand export` exports the result."""
    start_numpy()
    from expand.cli import full_training
    from expand.search.worker_plan import plan_workers

    options = full_training.TrainingOptions(
        epochs, scale, data, tuple(settings or ()), full_training.parse_seeds(seeds), weights, freeze, trust
    )
    request = full_training.request(source, trial, point, values or [], recipe_of, options)
    start = Start.of(request, out, plan_workers(workers, gpus_per_trial))
    start.say(f"{start.title} in {start.folder}, {start.workers.described()}")
    full_training.announce(request, start.folder, start.workers, start.say, calibrated=calibrate)
    to_the_end(start, retry_failed=retry_failed)
