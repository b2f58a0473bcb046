"""The application that all commands register with, and the options that several of them share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

# The parts of `expand --help`, and the commands in each as a user meets them.
SEARCH, NETWORKS, MEANS = "Search", "Networks that were found", "Costs, videos and this machine"
ORDER = (
    *("list", "run", "plan", "status", "report", "compare", "dashboard", "tune"),
    *("test", "predict", "export", "train", "grow"),
    *("cost", "measure", "scores", "bench", "weights", "data", "doctor"),
)


class InOrder(TyperGroup):
    """Has its commands by ORDER, whichever module was imported first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = dict(sorted(self.commands.items(), key=lambda command: ORDER.index(command[0])))


app = typer.Typer(
    name="expand", cls=InOrder, no_args_is_help=True, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search for video networks: count the cost of candidates, train them, report the accuracy-cost front, export a network. "
    "Any command takes --debug for a traceback.",
    epilog="Such as: expand run x3d_stepwise, expand report runs/x3d_stepwise-demo, "
    "expand export runs/x3d_stepwise-demo --best top1 --to my_network",
)  # fmt: skip


data_app = typer.Typer(
    no_args_is_help=True, help="Render the default clips, or prepare and check videos of your own.",
    epilog="Such as: expand data prepare my_videos --to prepared, expand data check my_videos",
)  # fmt: skip

MOST_PIXELS, MOST_COUNT = 100_000, 10**12  # larger numbers are typing errors


def names_in(package: str) -> Callable[[str], list[str]]:
    """Completes the names of our studies or search spaces in a shell."""

    def names(incomplete: str) -> list[str]:
        from expand.config.loading import names_in

        return [name for name in names_in(package) if name.startswith(incomplete)]

    return names


# --- which study, run, network ---------------------------------------------------------------------------------------

StudyName = Annotated[
    str,
    typer.Argument(
        help="A study: one of ours (`expand list`), a dotted name or a file.", autocompletion=names_in("studies")
    ),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Values = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="With a space: such as frames=6 width=1.3.")
]
Point = Annotated[str | None, typer.Option(help="With a space: a published network by name, such as XL.")]
Classes = Annotated[
    int | None, typer.Option(min=1, help="Classes of the last layer (default: the family's published number).")
]
Trial = Annotated[int | None, typer.Option(min=0, help="This trial.")]
Best = Annotated[str | None, typer.Option(help="The best by an objective, such as top1.")]
Under = Annotated[
    str | None, typer.Option(metavar="COST=X", help="The most accurate within a cost, such as gmacs=0.01.")
]
AllFront = Annotated[bool, typer.Option("--all-front", help="Every network on the front.")]

# --- how a study is changed and run ----------------------------------------------------------------------------------

Videos = Annotated[str | None, typer.Option(help="A folder or list of videos (default: rendered clips).")]
Workers = Annotated[
    int | None, typer.Option(max=MOST_PIXELS, help="Trials in parallel; 0 trains one by one, without Ray.")
]
GpusPerTrial = Annotated[float | None, typer.Option(help="Such as 0.25: four trials share a GPU.")]
Seed = Annotated[int | None, typer.Option(min=0, help="The training seed, instead of the study's.")]
Scale = Annotated[str, typer.Option(help="demo: minutes on two cores; paper: the published recipe and regime.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any field of the study, such as recipe.epochs=3; `expand list STUDY` shows all.",
    ),
]
RecipeAxes = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe-axis",
        metavar="NAME=VALUES",
        help="Search a field of the recipe too: learning_rate=0.0125..0.2, weight_decay=5e-5,5e-4; may be repeated.",
    ),
]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="COST<=X",
        help="Train nothing above this, such as 'gmacs<=2', 'params_m<=4', 'latency_ms<=30'.",
    ),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Train trials that have failed again.")]
Calibrate = Annotated[
    bool, typer.Option(help="Time real training steps first, for at most a minute, to predict hours.")
]
Trust = Annotated[bool, typer.Option("--trust", help="Run a study file that is in a run directory or has changed.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
