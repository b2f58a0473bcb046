"""The application that all commands register with, and the options that several of them share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="expand", no_args_is_help=True, pretty_exceptions_enable=False,
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


def _names_in(package: str) -> Callable[[str], list[str]]:
    """Completes the names of our studies or search spaces in a shell."""

    def names(incomplete: str) -> list[str]:
        from expand.config.loading import names_in

        return [name for name in names_in(package) if name.startswith(incomplete)]

    return names


Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


StudyName = Annotated[
    str,
    typer.Argument(
        help="A study: one of ours (`expand list`), a dotted name or a file.",
        autocompletion=_names_in("studies"),
    ),
]  # fmt: skip


Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]


Trust = Annotated[bool, typer.Option("--trust", help="Run a study file that is in a run directory or has changed.")]
