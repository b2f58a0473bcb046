"""`expand test` and `expand predict`: their work and their output."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from expand.cli.listing import print_json
from expand.core.errors import UsageError
from expand.core.units import format_seconds
from expand.evaluation.predict import TOP, VIEWS, predictor
from expand.evaluation.result_tables import print_tests
from expand.evaluation.test_split import Bars, Count, Question, _clips, _path, open_videos, test_trial
from expand.report.choosing import Choice
from expand.storage import run_directory as records
from expand.storage.stored_study import study_of
from expand.storage.test_results import TestResult, all_tests
from expand.storage.trained_weights import read_weights
from expand.training.device import pick_device


def show_tests(
    run: Path,
    question: Question,
    choice: Choice,
    *,
    as_json: bool,
    trust: bool = False,
) -> list[TestResult]:
    """Tests one trial of a run, or the best seed of every network on its front; prints and stores the results.

    Raises:
        UsageError: not exactly one choice, the trial is not complete, the network cannot take the crop, there are no such
            videos, or the run's code is not trusted (`trust`).
        ExpandError: weights or videos are missing or damaged.
    """
    record, device = records.open_for_reading(run), pick_device()
    chosen = choice.trials(record)
    study = study_of(record, chosen, trust=trust)
    for one in chosen:  # reported before anything is decoded
        _clips(study, one, question.crop)
        read_weights(record, one)
    with _bars() as bars:
        videos = open_videos(record, study, question, bars)
        shown = [test_trial(record, study, one, videos, question, bars=bars, device=device) for one in chosen]
    if as_json:
        print_json([test.plain() for test in shown] if choice.all_front else shown[0].plain())
    else:
        console = Console()
        print_tests(console, shown, all_tests(record.folder))
        places = [str(_path(record, study, one, videos, question)) for one in chosen]
        console.print(
            f"stored in {', '.join(places)} and the folder of the same name",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    return shown


@contextmanager
def _bars() -> Iterator[Bars]:
    """Progress on stderr: on a terminal bars that disappear at the end, elsewhere a line every few seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:

        def bar(what: str) -> Count:
            task = progress.add_task(what, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        yield bar


SECONDS_BETWEEN_LINES = 10.0


def _lines(what: str) -> Count:
    began = spoken = time.perf_counter()

    def line(done: int, total: int) -> None:
        nonlocal spoken
        now = time.perf_counter()
        if done and now - spoken >= SECONDS_BETWEEN_LINES:
            spoken = now
            left = format_seconds((now - began) * (total - done) / done)
            print(f"{what}: {done:,} of {total:,}, about {left} left", file=sys.stderr, flush=True)

    return line


def show_predictions(
    network: str,
    videos: Sequence[Path],
    *,
    views: int = VIEWS,
    top: int = TOP,
    device: str | None,
    as_json: bool,
    trust: bool = False,
) -> bool:
    """Prints the classes of each video; False if one could not be read, which is reported on stderr."""
    from expand.cli.listing import print_json

    answer, found, console = predictor(network, device, trust=trust), [], Console()
    for video in videos:
        try:
            prediction = answer(video, views, top)
        except UsageError as error:
            print(f"expand: {error}", file=sys.stderr)
            continue
        found.append(prediction)
        if not as_json:
            console.print(f"[bold]{escape(str(video))}[/]", highlight=False, soft_wrap=True)
            for name, chance in prediction.classes:
                console.print(f"  {chance:6.1%}  {escape(name)}", highlight=False, soft_wrap=True)
    if as_json:
        print_json([asdict(prediction) for prediction in found])
    elif found:
        console.print(f"mean softmax of {views} centre clips, evenly spaced in time", style="dim", highlight=False)
    return len(found) == len(videos)
