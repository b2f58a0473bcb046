"""Commands that show runs: `expand status`, `report`, `compare` and `dashboard`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from expand.cli.shared_options import SEARCH, Json, Run, app


@app.command(
    rich_help_panel=SEARCH,
    epilog="Such as: expand status runs/x3d_stepwise-demo, expand status runs/x3d_stepwise-demo --json",
)
def status(run: Run, as_json: Json = False) -> None:
    """Show the progress of a run: every trial with its state, accuracy, cost and error."""
    from expand.cli import listing

    listing.show_status(run, as_json=as_json)


@app.command(
    rich_help_panel=SEARCH,
    epilog="Such as: expand report runs/x3d_stepwise-demo --html, expand report runs/a runs/b --to both",
)
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories; several give one common page.")
    ],
    html: Annotated[bool, typer.Option("--html", help="Print only the page's path, no tables.")] = False,
    to: Annotated[
        Path | None, typer.Option(help="Where to write (default: RUN/report). Required for several runs.")
    ] = None,
) -> None:
    """Write a page, front, trials, figures, ledger or comparison of seeds, and print them; also during a run."""
    from rich.console import Console

    from expand.report.run_report import show_report

    show_report(runs, to, Console(), tables=not html)


@app.command(
    rich_help_panel=SEARCH,
    epilog="Such as: expand compare runs/a runs/b --to compared, expand compare runs/a runs/b --cost params_m --bins 0.2 "
    "--reference params_m=4, expand compare runs/a:3 runs/b:17",
)
def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN... | RUN:TRIAL RUN:TRIAL", help="Run directories, or two networks.")
    ],
    cost: Annotated[str, typer.Option(metavar="gmacs|params_m|latency_ms", help="The cost of the fronts.")] = "gmacs",
    bins: Annotated[
        float, typer.Option(metavar="WIDTH", help="Costs within this share count as equal; 0.1 is 10 %.")
    ] = 0.1,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=X",
            help="Of hypervolumes, such as gmacs=2 or top1=0.1 (default: twice the highest cost, and 0).",
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="A folder for the page, tables and the figure of the fronts.")] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Compare although videos or classes differ.")] = False,
    as_json: Json = False,
) -> None:
    """Compare runs: fronts, hypervolume, accuracy at equal cost, with intervals over seeds. Or two networks."""
    from rich.console import Console

    from expand.cli.compare_runs import compare as compare_runs

    compare_runs(
        runs, Console(), cost=cost, reference=reference or (), width=bins, to=to, anyway=anyway, as_json=as_json
    )


@app.command(rich_help_panel=SEARCH, epilog="Such as: expand dashboard runs/x3d_stepwise-demo --open")
def dashboard(
    run: Run,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 (the default) takes a free one.")] = 0,
    host: Annotated[str, typer.Option(help="The address to listen on (default: this machine only).")] = "127.0.0.1",
    i_know: Annotated[
        bool, typer.Option("--i-know", help="Other machines may read the run and edit its notes: there is no password.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Show a run in Optuna's dashboard, live, partial or finished, until it is interrupted."""
    from expand.monitoring.dashboard.server import show

    show(run, host=host, port=port, known=i_know, open_browser=open_, say=lambda text: print(text, flush=True))
