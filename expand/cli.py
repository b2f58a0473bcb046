"""The command line: it parses and calls. torch, optuna, ray and the rest are imported by the command that needs them."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from expand import signals

app = typer.Typer(
    name="expand", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search for video networks: count what candidates cost, train them, keep the accuracy-cost front, take one away. "
    "Any command takes --debug for a traceback.",
    epilog="Such as: expand run x3d_stepwise, expand report runs/x3d_stepwise-demo, "
    "expand export runs/x3d_stepwise-demo --best top1 --to my_network",
)  # fmt: skip
data_app = typer.Typer(
    no_args_is_help=True, help="Render the default clips, or prepare and check videos of your own.",
    epilog="Such as: expand data prepare my_videos --to prepared, expand data check my_videos",
)  # fmt: skip
app.add_typer(data_app, name="data")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]


def main() -> None:
    """Runs the command line; errors become one line on stderr and an exit code (2 usage, 1 failure)."""
    debug = "--debug" in sys.argv or bool(os.environ.get("EXPAND_DEBUG"))
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    with signals.handled():
        try:
            app()
        except Exception as error:
            if debug:
                traceback.print_exc()
            signals.leave(_explained(error))
        except signals.Interrupted as interrupted:
            print(f"expand: {interrupted}", file=sys.stderr)
            signals.leave(interrupted.exit_code)


def _explained(error: Exception) -> int:
    """Says in one line what went wrong; the exit code."""
    from expand.errors import ExpandError

    if isinstance(error, ExpandError):
        print(f"expand: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if (interrupted := signals.noted()) is not None:  # some libraries turn what is raised while they are imported
        print(f"expand: {interrupted}", file=sys.stderr)
        return interrupted.exit_code
    line = (str(error) or "no message").splitlines()[0]
    print(f"expand: {type(error).__name__}: {line} (a fault of ours? --debug shows where)", file=sys.stderr)
    return 1


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
    _start_numpy()
    from rich.console import Console

    from expand.run import Request
    from expand.tracking import check
    from expand.workers import plan_workers

    request = Request(study, scale, tuple(set_ or ()), data, seed, tuple(limit or ()))
    chosen = request.study()
    folder = out or request.default_folder(chosen)
    plan = plan_workers(workers, gpus_per_trial, address)
    trackers = check(track or (), plan.count)
    console = Console()
    title = f"{chosen.name} ({scale})"
    console.print(f"{title} in {folder}, {plan.described()}", highlight=False, markup=False)
    if budget_hours is not None:
        from expand.planning import within_budget

        within_budget(
            request, folder, plan, budget_hours, lambda text: console.print(text, highlight=False, markup=False)
        )
    _to_the_end(console, title, request, folder, plan, storage=storage, force=force, track=trackers)


def _start_numpy() -> None:
    """Its threads must not get signals that are meant for the main one, which Ray would take there."""
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
) -> None:
    """Runs a request, prints what came of it and where it is."""
    import shlex

    from expand.errors import ExpandError
    from expand.progress import watcher
    from expand.reporting import summary
    from expand.run import run

    again = f"run the same command again to go on ({folder})"
    try:
        with watcher(console, title) as watch:
            record = run(request, folder, plan, watch, storage=storage, force=force, track=track)
    except signals.Interrupted as interrupted:
        print(f"expand: {interrupted}; {again}", file=sys.stderr)
        signals.leave(interrupted.exit_code)
    if not summary(record, console):
        raise ExpandError(f"no candidate was trained to the end; `expand status {folder}` shows the reasons")
    place = shlex.quote(str(folder))
    names = ("index.html", "front.png", "front.csv", "trials.csv", "ledger.md", "comparison.md", "planned.md")
    written = ", ".join(name for name in names if (record.folder / "report" / name).exists())
    for line in (
        "",
        f"report     {folder}/report/{written}",
        f"dashboard  expand dashboard {place}",
        f"take away  expand export {place} --best top1 --to my_network",
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
    trial: Annotated[int | None, typer.Option(min=0, help="With a run: which of its networks.")] = None,
    point: Annotated[str | None, typer.Option(help="With a space: a published network by name, such as S.")] = None,
    recipe_of: Annotated[
        str | None, typer.Option(metavar="STUDY", help="With a space: the study whose recipe trains it.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Stretch the whole schedule to so many.")] = None,
    scale: Annotated[
        str | None, typer.Option(help="The study's recipe at this scale (demo, paper); a run's own without it.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="A folder or list of videos; a run's own without it.")] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE|same", help="Start from these weights, or from the trial's own.")
    ] = None,
    freeze: Annotated[bool, typer.Option("--freeze", help="With --weights: only the head learns.")] = False,
    seeds: Annotated[str | None, typer.Option(metavar="0,1,2", help="One training each.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A field of recipe or data.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run directory; runs/train-... without it.")] = None,
    workers: Annotated[int, typer.Option(help="Seeds at once on Ray; 0 trains in this process, one by one.")] = 0,
    gpus_per_trial: Annotated[float | None, typer.Option(help="Such as 0.5: two seeds share a GPU.")] = None,
    calibrate: Annotated[bool, typer.Option(help="Time real training steps first, to say how long it takes.")] = True,
) -> None:
    """Train one network fully: of a run, or a published one. The same command again resumes; `expand export` takes it away."""
    _start_numpy()
    from rich.console import Console

    from expand import full_training
    from expand.workers import plan_workers

    wishes = full_training.Wishes(
        epochs, scale, data, tuple(set_ or ()), full_training.parse_seeds(seeds), weights, freeze
    )
    request = full_training.request(source, trial, point, values or [], recipe_of, wishes)
    chosen = request.study()
    folder = out or request.default_folder(chosen)
    plan, console = plan_workers(workers, gpus_per_trial), Console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(f"{chosen.name} in {folder}, {plan.described()}")
    full_training.announce(request, folder, plan, say, calibrated=calibrate)
    _to_the_end(console, chosen.name, request, folder, plan)


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


@app.command(epilog="Such as: expand report runs/x3d_stepwise-demo --html, expand report runs/a runs/b --to both")
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories; several make one page.")],
    html: Annotated[bool, typer.Option("--html", help="Print only where the page is, no tables.")] = False,
    to: Annotated[
        Path | None, typer.Option(help="Where to write; RUN/report without it. Several runs need it.")
    ] = None,
) -> None:
    """Write a page, front, trials, figures, ledger or comparison of seeds, and print them; also in the middle of a run."""
    from rich.console import Console

    from expand.reporting import show_report

    show_report(runs, to, Console(), tables=not html)


@app.command(
    epilog="Such as: expand test runs/x3d_stepwise-demo --best top1, expand test RUN --trial 5 --views 10x3 --crop 128"
)
def test(
    run: Run,
    trial: Annotated[int | None, typer.Option(help="This trial.")] = None,
    best: Annotated[str | None, typer.Option(help="The best by an objective, such as top1.")] = None,
    under: Annotated[
        str | None, typer.Option(metavar="COST=X", help="The best within a cost, such as gmacs=0.01.")
    ] = None,
    all_front: Annotated[bool, typer.Option("--all-front", help="Every network on the front.")] = False,
    views: Annotated[
        str, typer.Option(metavar="CLIPSxCROPS", help="Clips in time by crops in space: 1 (centre) or 3.")
    ] = "10x3",
    crop: Annotated[int | None, typer.Option(help="Side of the crops in pixels; that of training without it.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="Short side over crop; things as large as in training without it.")
    ] = None,
    split: Annotated[str, typer.Option(help="test or val.")] = "test",
    data: Annotated[str | None, typer.Option(help="Other videos of the same classes.")] = None,
    skip_damaged: Annotated[bool, typer.Option("--skip-damaged", help="Leave out what cannot be decoded.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Score again what has been scored already.")] = False,
    as_json: Json = False,
) -> None:
    """Score trained networks on the test split, a video by all its views; the only command that looks at it."""
    from expand.testing import Question, show_tests
    from expand.training.views import Views

    question = Question(Views.parse(views), split, crop, scale, data, skip_damaged, again)
    show_tests(run, question, trial=trial, best=best, under=under, all_front=all_front, as_json=as_json)


@app.command(
    epilog="Such as: expand compare runs/a runs/b --to compared, expand compare runs/a runs/b --cost params_m --bins 0.2 "
    "--reference params_m=4, expand compare runs/a:3 runs/b:17"
)
def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN... | RUN:TRIAL RUN:TRIAL", help="Run directories, or two networks.")
    ],
    cost: Annotated[str, typer.Option(metavar="gmacs|params_m|latency_ms", help="The cost of the fronts.")] = "gmacs",
    bins: Annotated[float, typer.Option(metavar="WIDTH", help="Costs within this share are equal; 0.1 is 10 %.")] = 0.1,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=X", help="Of hypervolumes, such as gmacs=2 or top1=0.1; twice the dearest network and 0."
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="A folder for the page, tables and the figure of the fronts.")] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Also where videos or classes differ.")] = False,
    as_json: Json = False,
) -> None:
    """Compare runs: fronts, hypervolume, accuracy at equal cost, with intervals over seeds. Or two networks."""
    from rich.console import Console

    from expand.compare.command import compare as compare_runs

    compare_runs(
        runs, Console(), cost=cost, reference=reference or (), width=bins, to=to, anyway=anyway, as_json=as_json
    )


@app.command(epilog="Such as: expand dashboard runs/x3d_stepwise-demo --open")
def dashboard(
    run: Run,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0, as without it, takes a free one.")] = 0,
    host: Annotated[str, typer.Option(help="The address to listen on; this machine only without it.")] = "127.0.0.1",
    i_know: Annotated[
        bool, typer.Option("--i-know", help="Other machines may read the run and edit its notes: there is no password.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Show a run in Optuna's dashboard, live, partial or finished, until it is interrupted."""
    from expand.dashboard.server import show

    show(run, host=host, port=port, known=i_know, open_browser=open_, say=lambda text: print(text, flush=True))


@app.command(
    epilog="Such as: expand export RUN --under gmacs=0.01 --to my_network, expand export RUN --all-front --onnx --to front"
)
def export(
    run: Run,
    to: Annotated[Path, typer.Option(help="The folder to write.")],
    under: Annotated[
        str | None, typer.Option(metavar="COST=X", help="The best within a cost, such as gmacs=0.01.")
    ] = None,
    trial: Annotated[int | None, typer.Option(help="This trial.")] = None,
    best: Annotated[str | None, typer.Option(help="The best by an objective, such as top1.")] = None,
    all_front: Annotated[bool, typer.Option("--all-front", help="Every network on the front, a folder each.")] = False,
    pt2: Annotated[bool, typer.Option("--pt2", help="Also model.pt2, for torch.export.load.")] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also model.onnx; needs the extra of that name.")] = False,
    force: Annotated[bool, typer.Option(help="Replace an earlier export.")] = False,
) -> None:
    """Take networks away: a folder with source, weights and model card that needs only torch."""
    from expand.export.takeaway import take_away

    formats = [file for file, wanted in (("model.pt2", pt2), ("model.onnx", onnx)) if wanted]
    take_away(run, to, under=under, trial=trial, best=best, all_front=all_front, formats=formats, force=force)


@app.command(epilog="Such as: expand weights X3D_M.pyth, expand weights X3D_M.pyth x3d --point M")
def weights(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An export's folder, or a file of weights of any layout.")
    ],
    space: Annotated[
        str | None, typer.Argument(metavar="SPACE", help="A search space; all of ours are looked through without it.")
    ] = None,
    values: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Such as depth=2.2 width=1.")
    ] = None,
    point: Annotated[str | None, typer.Option(help="A published network by name, such as XL.")] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="Classes of the last layer; the family's published number without it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What a file of weights holds, which networks it fits, and what one of them would take of it."""
    from expand import listing
    from expand.errors import UsageError

    if space is None:
        if point is not None or classes is not None:
            raise UsageError("--point and --classes go with a search space, such as: expand weights FILE x3d --point M")
        return listing.show_weight_file(file, as_json=as_json)
    listing.show_matched(file, space, values or [], point, classes, as_json=as_json)


@data_app.command("render", epilog="Such as: expand data render --to my_clips --seed 1")
def data_render(
    to: Annotated[Path | None, typer.Option(help="Where to; the cache without it.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other actors and scenes (needs --to).")] = 0,
) -> None:
    """Render the default action clips to video files."""
    from expand import listing

    listing.render(to, seed)


Layout = Annotated[
    str | None,
    typer.Option(
        help="Instead of detecting it: ucf101, hmdb51, something, kinetics, mmaction, lists, split-folders, folders."
    ),
]
OfficialSplit = Annotated[int, typer.Option("--split", min=1, help="Which official split of UCF101 or HMDB51.")]
GroupColumn = Annotated[
    str | None, typer.Option(help="The column of a list whose clips belong on one side of a split.")
]
Fps = Annotated[float | None, typer.Option(help="Frames a second of frame folders and arrays.")]
SkipMissing = Annotated[bool, typer.Option("--skip-missing", help="Leave out listed files that are not there.")]


@data_app.command("prepare", epilog="Such as: expand data prepare UCF-101 --to prepared --split 1")
def data_prepare(
    source: Annotated[str, typer.Argument(help="A folder or list of videos, of any layout.")],
    to: Annotated[Path, typer.Option(help="The folder to write manifest.csv and manifest.json to.")],
    layout: Layout = None,
    split: OfficialSplit = 1,
    group_column: GroupColumn = None,
    fps: Fps = None,
    skip_missing: SkipMissing = False,
    strict: Annotated[bool, typer.Option("--strict", help="Write nothing if a video would be left out.")] = False,
    cache: Annotated[bool, typer.Option(help="Also fill the frame cache, for training to start at once.")] = True,
    cache_side: Annotated[int, typer.Option(min=16, help="Short side of cached frames, as data.cache_side.")] = 96,
    as_json: Json = False,
) -> None:
    """Decode everything once, write down what there is, and split it by group where no validation split is given."""
    from expand import videos
    from expand.data.layouts.rows import Options

    options = Options(layout, split, group_column, fps, skip_missing)
    videos.prepare_data(source, to, options, strict=strict, cache_side=cache_side if cache else None, as_json=as_json)


@data_app.command("check", epilog="Such as: expand data check my_videos, expand data check my_videos --strict --json")
def data_check(
    source: Annotated[
        str | None, typer.Argument(help="A folder or list of videos; the default clips without it.")
    ] = None,
    layout: Layout = None,
    split: OfficialSplit = 1,
    group_column: GroupColumn = None,
    fps: Fps = None,
    skip_missing: SkipMissing = False,
    shortest: Annotated[int, typer.Option(min=1, help="List videos of fewer frames than this.")] = 8,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if anything is listed.")] = False,
    as_json: Json = False,
) -> None:
    """Decode every video and list what is wrong: damaged, too short, unevenly timed, leaking from split to split."""
    from expand import videos
    from expand.data.layouts.rows import Options

    options = Options(layout, split, group_column, fps, skip_missing)
    if not videos.check_data(source, options, shortest=shortest, as_json=as_json) and strict:
        raise typer.Exit(1)


@data_app.command(
    "reencode", epilog="Such as: expand data reencode kinetics --to kinetics_128 --side 128 --keyframes 12"
)
def data_reencode(
    source: Annotated[str, typer.Argument(help="A folder or list of videos.")],
    to: Annotated[Path, typer.Option(help="The folder to write; what is there from an earlier try stays.")],
    side: Annotated[int, typer.Option(help="Pixels of the short side, at most.")] = 128,
    keyframes: Annotated[int, typer.Option(help="A keyframe every so many frames.")] = 12,
) -> None:
    """Write smaller files that are fast to decode on the fly, with lists, for `--data DIR --set data.decode=fly`."""
    from expand import listing

    listing.reencode_data(source, to, side=side, keyframes=keyframes)


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
