"""The command line: it parses and calls. torch, optuna, ray and the rest are imported by the command that needs them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="expand", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search for video networks: count what candidates cost, train them, keep the accuracy-cost front, take one away. "
    "Any command takes --debug for a traceback.",
    epilog="Such as: expand run x3d_stepwise, expand report runs/x3d_stepwise-demo, "
    "expand export runs/x3d_stepwise-demo --best top1 --to my_network",
)  # fmt: skip
data_app = typer.Typer(
    no_args_is_help=True, help="Render the default clips, or check videos of your own.",
    epilog="Such as: expand data check my_videos",
)  # fmt: skip
app.add_typer(data_app, name="data")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]


def main() -> None:
    """Runs the command line; errors become one line on stderr and an exit code (2 usage, 1 failure)."""
    debug = "--debug" in sys.argv or bool(os.environ.get("EXPAND_DEBUG"))
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    from expand.errors import ExpandError

    try:
        app()
    except ExpandError as error:
        if debug:
            raise
        print(f"expand: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        line = (str(error) or "no message").splitlines()[0]
        print(f"expand: {type(error).__name__}: {line} (a fault of ours? --debug shows where)", file=sys.stderr)
        sys.exit(1)


@app.command("list", epilog="Such as: expand list, expand list --json")
def list_(as_json: Json = False) -> None:
    """The studies and search spaces that come along."""
    from expand import listing

    listing.show(as_json=as_json)


@app.command(
    epilog="Such as: expand cost x3d --point XL --crop 356 --views 10x3, expand cost x3d frames=6 width=1.3 --by stage, "
    "expand cost my_file.py:make_network --input 3x16x224x224, expand cost --papers --to docs/papers.md"
)
def cost(
    space: Annotated[
        str | None,
        typer.Argument(
            metavar="SPACE|MODULE:FACTORY",
            help="A search space (one of ours, a dotted name or a file), or what makes a network of your own.",
        ),
    ] = None,
    values: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Such as frames=6 width=1.3.")
    ] = None,
    point: Annotated[str | None, typer.Option(help="A published network by name, such as XL.")] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="Classes of the last layer; the family's published number without it.")
    ] = None,
    crop: Annotated[
        int | None, typer.Option(help="The same network on crops of so many pixels, as for testing.")
    ] = None,
    views: Annotated[
        str | None, typer.Option(metavar="CLIPSxCROPS", help="Also what a video costs, such as 10x3: 30 clips.")
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="CxTxHxW", help="What a network of your own reads; once for each stream."),
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="stage|layer", help="Where in the network its cost arises.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Count with fvcore on a forward pass too; must agree.")
    ] = False,
    papers: Annotated[
        bool, typer.Option("--papers", help="Published costs against ours; of all our spaces if none is named.")
    ] = False,
    to: Annotated[Path | None, typer.Option(help="With --papers: the file to write, instead of printing.")] = None,
    as_json: Json = False,
) -> None:
    """What a network costs, exactly, without running it; all published points of the space if none is named."""
    from expand import listing
    from expand.errors import UsageError

    if papers:
        if values or point is not None or classes is not None:
            raise UsageError("--papers takes no NAME=VALUE, --point or --classes: it is about all published points")
        if crop is not None or views is not None or input_ or by is not None or check:
            raise UsageError("--papers takes no --crop, --views, --input, --by or --check")
        return listing.show_papers(space, to, as_json=as_json)
    if to is not None:
        raise UsageError("--to goes with --papers; costs are printed")
    if space is None:
        raise UsageError("which search space? `expand list` shows ours; --papers is about all of them")
    from expand import cost_tables

    question = cost_tables.Question(classes, crop, views, by, check, as_json)
    if ":" in space:
        if values or point is not None:
            raise UsageError(f"{space} is a network of your own: it takes no NAME=VALUE and no --point")
        return cost_tables.show_network(space, input_ or [], question)
    if input_:
        raise UsageError("--input is for a network of your own (MODULE:FACTORY); a space's clip is set by its values")
    cost_tables.show_space(space, values or [], point, question)


@app.command(
    epilog="Such as: expand run x3d_stepwise, expand run x3d_stepwise --data my_videos --workers 4 --set recipe.epochs=30, "
    "expand run mcx_split --limit 'gmacs<=0.1' --budget-hours 8 --out runs/mcx, expand run ./my_study.py --track tensorboard"
)
def run(
    study: Annotated[str, typer.Argument(help="A study: one of ours (`expand list`), a dotted name or a file.")],
    data: Annotated[str | None, typer.Option(help="A folder or list of videos; rendered clips without it.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run directory; runs/STUDY-SCALE without it.")] = None,
    workers: Annotated[int | None, typer.Option(help="Trials at once; 0 trains in this process without Ray.")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="Such as 0.25: four trials share a GPU.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The training seed, instead of the study's.")] = None,
    scale: Annotated[
        str, typer.Option(help="demo: minutes on two cores; paper: the published recipe and regime.")
    ] = "demo",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any field of the study.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COST<=X", help="Train nothing above, such as 'gmacs<=2', 'params_m<=4', 'latency_ms<=30'."
        ),
    ] = None,
    budget_hours: Annotated[
        float | None, typer.Option(help="Plan first (a minute), and refuse a run that takes longer.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster ('auto' finds one); private without it.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="An Optuna storage URL instead of SQLite in the run; a password belongs in EXPAND_STORAGE."),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="TRACKER", help="tensorboard, mlflow or wandb: curves for these, too; may be repeated."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Resume although the study or the data have changed.")] = False,
) -> None:
    """Run a study, or go on with it: the same command again resumes. Ends with the front, and the ledger or comparison."""
    import shlex
    import signal

    from expand.errors import ExpandError

    def stop_early(number: int, frame: object) -> None:
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, stop_early)
    from rich.console import Console

    from expand.progress import watcher
    from expand.record import storage_url
    from expand.run import Request, Terminated, summary
    from expand.run import run as run_study
    from expand.tracking import check
    from expand.workers import plan_workers

    request = Request(study, scale, tuple(set_ or ()), data, seed, tuple(limit or ()))
    chosen = request.study()
    folder = out or request.default_folder(chosen)
    plan = plan_workers(workers, gpus_per_trial, address)
    trackers = check(track or (), plan.count)
    console = Console()
    console.print(f"{chosen.name} ({scale}) in {folder}, {plan.described()}", highlight=False, markup=False)
    again = f"run the same command again to go on ({folder})"
    if budget_hours is not None:
        from expand.planning import within_budget

        within_budget(
            request, folder, plan, budget_hours, lambda text: console.print(text, highlight=False, markup=False)
        )
    try:
        with watcher(console, f"{chosen.name} ({scale})") as watch:
            record = run_study(request, folder, plan, watch, storage=storage, force=force, track=trackers)
    except KeyboardInterrupt:
        print(f"expand: interrupted; {again}", file=sys.stderr)
        sys.exit(130)
    except Terminated:
        print(f"expand: terminated; {again}", file=sys.stderr)
        sys.exit(143)
    if not summary(record, console):
        raise ExpandError(f"no candidate was trained to the end; `expand status {folder}` shows the reasons")
    place = shlex.quote(str(folder))
    url = storage_url(folder if folder.is_absolute() else Path(os.path.relpath(record.folder)), record.facts)
    names = ("front.png", "front.csv", "trials.csv", "ledger.md", "comparison.md", "planned.md")
    written = ", ".join(name for name in names if (record.folder / "report" / name).exists())
    for line in (
        "",
        f"report     {folder}/report/{written}",
        f"dashboard  optuna-dashboard {shlex.quote(url)}",
        f"take away  expand export {place} --best top1 --to my_network",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command(
    epilog="Such as: expand measure x3d --training --batch 8, expand measure x3d c3d mixed_conv --below 45, "
    "expand measure mixed_conv --point R3D frames=16"
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
    batch: Annotated[int | None, typer.Option(min=1, help="Clips at once; 1, or 8 when training.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of the processor.")] = 1,
    repeats: Annotated[
        int, typer.Option(min=3, help="Timed runs; fewer where they take more than half a minute.")
    ] = 20,
    training: Annotated[bool, typer.Option("--training", help="A whole training step instead of inference.")] = False,
    as_json: Json = False,
) -> None:
    """Measure time and memory of networks on this machine, beside their multiply-adds."""
    from expand.measuring import show_measured

    show_measured(
        spaces, point or [], below=below, batch=batch or (8 if training else 1), threads=threads,
        repeats=repeats, training=training, as_json=as_json,
    )  # fmt: skip


@app.command(
    epilog="Such as: expand plan x3d_stepwise, expand plan mcx_split --data my_videos --workers 4 --keep runs/mcx, "
    "expand plan x3d_stepwise --scale paper --no-calibrate --wins bottleneck,frames"
)
def plan(
    study: Annotated[str, typer.Argument(help="A study: one of ours (`expand list`), a dotted name or a file.")],
    data: Annotated[str | None, typer.Option(help="A folder or list of videos.")] = None,
    videos: Annotated[
        int | None, typer.Option(min=1, help="So many training videos, where there are none yet; with --classes.")
    ] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Goes with --videos.")] = None,
    workers: Annotated[int | None, typer.Option(help="Trials at once; 0 is one, without Ray.")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="Such as 0.25: four trials share a GPU.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The training seed, instead of the study's.")] = None,
    scale: Annotated[str, typer.Option(help="demo or paper, as for a run.")] = "demo",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any field of the study.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COST<=X", help="Train nothing above, such as 'gmacs<=2', 'params_m<=4', 'latency_ms<=30'."
        ),
    ] = None,
    wins: Annotated[
        str | None, typer.Option(metavar="AXIS,...", help="Play this course, too: the axes that win, step by step.")
    ] = None,
    calibrate: Annotated[
        bool, typer.Option(help="Time real training steps, a minute at most; no hours without it.")
    ] = True,
    keep: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Keep it in this run directory, for planned against actual.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What a study will cost before anything is launched: networks, multiply-adds, hours, memory, disk."""
    from rich.console import Console

    from expand import planning
    from expand.listing import print_json
    from expand.run import Request
    from expand.workers import plan_workers

    request = Request(study, scale, tuple(set_ or ()), data, seed, tuple(limit or ()))
    made = planning.plan_study(
        request, plan_workers(workers, gpus_per_trial), videos=videos, classes=classes, calibrated=calibrate,
        wins=[name.strip() for name in (wins or "").split(",") if name.strip()],
        note=lambda text: print(text, file=sys.stderr, flush=True),
    )  # fmt: skip
    if keep is not None:
        planning.keep(made, keep)
    if as_json:
        return print_json(made)
    planning.print_plan(Console(), made)


@app.command(epilog="Such as: expand status runs/x3d_stepwise-demo, expand status runs/x3d_stepwise-demo --json")
def status(run: Run, as_json: Json = False) -> None:
    """How far a run is: every trial with its state, accuracy, cost and error."""
    from expand import listing

    listing.show_status(run, as_json=as_json)


@app.command(
    epilog="Such as: expand report runs/x3d_stepwise-demo, expand report runs/x3d_stepwise-demo --to my_report"
)
def report(
    run: Run, to: Annotated[Path | None, typer.Option(help="Where to write; RUN/report without it.")] = None
) -> None:
    """Write front, trials, figure, ledger or comparison of seeds, and print them; also in the middle of a run."""
    from rich.console import Console

    from expand.record import open_for_reading
    from expand.run import report as write
    from expand.run import summary

    record = open_for_reading(run)
    paths = write(record, to)
    console = Console()
    summary(record, console)
    console.print("\nwrote " + ", ".join(str(path) for path in paths), highlight=False, soft_wrap=True)


@app.command(
    epilog="Such as: expand export runs/x3d_stepwise-demo --best top1 --to my_network, "
    "expand export runs/x3d_stepwise-demo --under gmacs=0.01 --to small --no-test"
)
def export(
    run: Run,
    to: Annotated[Path, typer.Option(help="The folder to write.")],
    under: Annotated[
        str | None, typer.Option(metavar="COST=X", help="The best within a cost, such as gmacs=0.01.")
    ] = None,
    trial: Annotated[int | None, typer.Option(help="This trial.")] = None,
    best: Annotated[str | None, typer.Option(help="The best by an objective, such as top1.")] = None,
    test: Annotated[bool, typer.Option(help="Score the test split, once, and write it down.")] = True,
) -> None:
    """Take a network away: a folder with source, weights and facts that needs only torch."""
    from expand.export.takeaway import take_away

    take_away(run, to, under=under, trial=trial, best=best, test=test)


@data_app.command("render", epilog="Such as: expand data render --to my_clips --seed 1")
def data_render(
    to: Annotated[Path | None, typer.Option(help="Where to; the cache without it.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other actors and scenes (needs --to).")] = 0,
) -> None:
    """Render the default action clips to video files."""
    from expand import listing

    listing.render(to, seed)


@data_app.command("check", epilog="Such as: expand data check my_videos, expand data check my_videos --json")
def data_check(
    source: Annotated[
        str | None, typer.Argument(help="A folder or list of videos; the default clips without it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Decode every video and list what is wrong: damaged, too short, leaking from split to split."""
    from expand import listing

    if not listing.check_data(source, as_json=as_json):
        raise typer.Exit(1)


@app.command(epilog="Such as: expand doctor, expand doctor --json")
def doctor(as_json: Json = False) -> None:
    """Look whether this machine has what a search needs."""
    from expand import doctor as checks

    if not checks.show(as_json=as_json):
        raise typer.Exit(1)


def _version(value: bool) -> None:
    if value:
        from expand import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    _: Any = version
