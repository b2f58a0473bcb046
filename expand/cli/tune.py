"""`expand tune`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from expand.cli import shared_options as shared
from expand.core import signals
from expand.core.accuracy import in_percent
from expand.core.units import format_seconds

if TYPE_CHECKING:
    from expand.config.request import Request
    from expand.search.chance import Chance
    from expand.storage.tuned import Tuned


@shared.app.command(
    rich_help_panel=shared.SEARCH,
    epilog="Such as: expand tune x3d_stepwise --data my_videos, expand tune x3d_stepwise --data my_videos --minutes 20 "
    "--out runs/tuned depth=2",
)
def tune(
    study: shared.StudyName,
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Another network than the start, such as depth=2."),
    ] = None,
    point: Annotated[str | None, typer.Option(help="A published network of the space instead of the start.")] = None,
    data: shared.Videos = None,
    out: Annotated[Path | None, typer.Option(help="The folder (default: runs/tune-STUDY-SCALE).")] = None,
    trials: Annotated[int, typer.Option(min=1, max=10_000, help="Recipes that are tried, the study's own first.")] = 12,
    minutes: Annotated[
        float | None, typer.Option(help="Try no more recipes after so many minutes of training.")
    ] = None,
    scale: shared.Scale = "demo",
    settings: shared.Settings = None,
    trust: shared.Trust = False,
) -> None:
    """Find learning rate, weight decay and length of a study's recipe on its start network. The same command resumes."""
    from rich.console import Console

    from expand.cli.listing import parse_values
    from expand.config.request import Request
    from expand.core.errors import UsageError
    from expand.monitoring.progress import watcher
    from expand.search.tuning import tune as tune_recipe
    from expand.source.trust import require_own

    if minutes is not None and minutes <= 0:
        raise UsageError(f"--minutes {minutes:g}: must be above 0")
    if not trust:
        require_own(study)
    request = Request(study, scale, tuple(settings or ()), data)
    loaded = request.study()
    space, given = loaded.space, parse_values(values or [])
    network = (
        space.point(point, **given) if point is not None else space.architecture(**given) if given else space.start
    )
    folder = out or Path("runs") / f"tune-{request.default_folder(loaded).name}"
    console = Console()
    with watcher(console, f"tuning {loaded.name}") as watch:
        watch.note(f"tuning {loaded.name} on {network} in {folder}; the test split is not opened")
        try:
            tuned, chance = tune_recipe(request, folder, network, watch, trials=trials, minutes=minutes)
        except signals.Interrupted as interrupted:
            print(f"expand: {interrupted}; run the same command again to resume ({folder})", file=sys.stderr)
            signals.leave(interrupted.exit_code)
    for line in result_lines(tuned, chance, request, folder):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def result_lines(tuned: Tuned, chance: Chance, request: Request, folder: Path) -> list[str]:
    """What was found against the recipe as it was, with noise, and the command that uses it."""
    from expand.core.accuracy import percent, resolution
    from expand.search.tuning import beats_chance

    chosen, before = tuned.chosen, tuned.before
    lines = [
        f"best        {tuned.scored(chosen)} on {tuned.clips} validation clips, trials {', '.join(map(str, chosen.trials))} of "
        f"{tuned.trials}, {format_seconds(tuned.seconds)} of training"
    ]
    for one in tuned.others:
        lines.append(f"also        {tuned.scored(one)}: {' '.join(one.settings) or 'the recipe as it is'}")
    if before is not None and before != chosen:
        lines.append(f"before      {tuned.scored(before)} with the recipe as it is")
        least = resolution(tuned.clips, chosen.mean)
        if chosen.mean - before.mean < least:
            lines.append(f"noise       the difference is within that of {tuned.clips} clips ({percent(least)} points)")
    if not beats_chance(tuned, chance):
        lines.append(
            f"noise       it does not beat guessing the most frequent class ({in_percent(chance.share)}): more clips, or check "
            "the labels with `expand data check`"
        )
    if not chosen.settings:
        return [*lines, "result      the study's recipe as it is"]
    data = f" --data {shlex.quote(request.data)}" if request.data else ""
    scale = "" if request.scale == "demo" else f" --scale {request.scale}"
    return [
        *lines,
        f"result      {' '.join(f'--set {setting}' for setting in chosen.settings)}",
        f"next        expand run {shlex.quote(request.reference)}{scale}{data} --recipe {shlex.quote(str(folder))}",
    ]
