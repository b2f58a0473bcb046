"""Shows the progress of a search: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from expand.core import signals
from expand.core.accuracy import in_percent, percent
from expand.core.attempt import Epoch
from expand.core.files import LINES, escaped
from expand.core.trial import Metrics, Trial, TrialState
from expand.core.units import format_macs, format_seconds


@dataclass(frozen=True)
class Outlook:
    """Progress of the whole search.

    Attributes:
        ended: trials that have ended.
        trials: trials in total; None if unknown.
        exact: whether the total is certain.
        seconds: estimated seconds left; None if unknown.
    """

    ended: int
    trials: int | None
    exact: bool
    seconds: float | None

    def text(self, waited: float = 0.0) -> str:
        """ "7 of about 18 trials ended, about 5:00 min left", `waited` seconds after the estimate."""
        if self.trials is None:
            count = f"trials ended so far: {self.ended}"
        else:
            count = f"{self.ended} of {'' if self.exact else 'about '}{self.trials} trials ended"
        if self.seconds is None or self.ended == self.trials:
            return count
        most = "at most " if self.trials is None else ""
        return f"{count}, {most}about {format_seconds(max(self.seconds - waited, 0.0))} left"


class Watcher(Protocol):
    """Gets the events of a search to show them."""

    def started(self, trial: Trial, *, resumed: bool = False) -> None: ...
    def epoch(self, trial: Trial, entry: Epoch) -> None: ...
    def placed(self, number: int, *, training: bool) -> None: ...  # given to a worker, or put back into the queue
    def outlook(self, outlook: Outlook) -> None: ...  # for the whole search
    def step(
        self, number: int, epoch: int, done: int, steps: int, loss: float
    ) -> None: ...  # a batch of trial `number`
    def ended(self, trial: Trial) -> None: ...
    def note(self, text: str) -> None: ...  # stays on the screen
    def progress(self, text: str) -> None: ...  # replaced by the next one
    def __enter__(self) -> Watcher: ...
    def __exit__(self, *_: object) -> None: ...


SECONDS_BETWEEN_LINES = 60.0  # minimum between two lines about batches
SECONDS_BETWEEN_EPOCHS = 30.0  # minimum between two lines about epochs, except the first line of a trial


class PlainLines:
    """One line per event: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = self.spoke = time.perf_counter()
        self.last_epoch_line = 0.0
        self.begun: set[int] = set()
        self.ahead: Outlook | None = None
        self.estimated = 0.0

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def note(self, text: str) -> None:
        self._line(text)

    def progress(self, text: str) -> None:
        self._line(text)

    def started(self, trial: Trial, *, resumed: bool = False) -> None:
        change = trial.suggestion.reason.partition(";")[0]
        word = "resumed" if resumed else "queued" if trial.suggestion.until != 0 else "recorded"
        self._line(f"trial {trial.number} {word}: {trial.label}, {format_macs(trial.cost.macs)}MACs, {change}")

    def epoch(self, trial: Trial, entry: Epoch) -> None:
        now = time.perf_counter()
        if trial.number in self.begun and now - self.last_epoch_line < SECONDS_BETWEEN_EPOCHS:
            return
        self.last_epoch_line = now
        self.begun.add(trial.number)
        left = (trial.suggestion.epochs - entry.epoch) * entry.seconds
        self._line(
            f"trial {trial.number} epoch {entry.epoch}/{trial.suggestion.epochs} loss {entry.loss:.3f} "
            f"top-1 {in_percent(entry.top1)} eta {format_seconds(left)}{self._ahead()}"
        )

    def placed(self, number: int, *, training: bool) -> None:
        pass

    def outlook(self, outlook: Outlook) -> None:
        self.ahead, self.estimated = outlook, time.perf_counter()

    def _ahead(self) -> str:
        return f"; {self.ahead.text(time.perf_counter() - self.estimated)}" if self.ahead else ""

    def step(self, number: int, epoch: int, done: int, steps: int, loss: float) -> None:
        if time.perf_counter() - self.spoke >= SECONDS_BETWEEN_LINES:
            self._line(f"trial {number} {_batches(epoch, done, steps, loss)}")

    def ended(self, trial: Trial) -> None:
        result = f"top-1 {_top1(trial.metrics)}" if trial.metrics else trial.error or _stopped(trial)
        self._line(
            f"trial {trial.number} {trial.state.value}: {result} ({format_seconds(trial.train_seconds)}){self._ahead()}"
        )

    def _line(self, text: str) -> None:
        self.spoke = time.perf_counter()
        text = f"[{self.spoke - self.began:7.1f} s] {escaped(text, keep=LINES)}"
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)
        self.console.file.flush()  # a pipe would buffer lines for minutes


class LiveTable:
    """A table of the running candidates with epoch, accuracy, cost and time left, redrawn in place."""

    def __init__(self, console: Console, title: str) -> None:
        self.console, self.title = console, title
        self.began = time.perf_counter()
        self.trials: dict[int, Trial] = {}
        self.epochs: dict[int, Epoch] = {}
        self.training: set[int] = set()
        self.ahead: Outlook | None = None
        self.estimated = 0.0
        self.message = ""
        self.live = Live(console=console, get_renderable=self._draw, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveTable:
        with signals.blocked():  # the thread that it starts must not receive signals meant for the main thread
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def note(self, text: str) -> None:
        self._print(text)

    def progress(self, text: str) -> None:
        self.message = text

    def _print(self, text: str) -> None:
        self.console.print(escaped(text, keep=LINES), highlight=False, markup=False, soft_wrap=True)

    def started(self, trial: Trial, *, resumed: bool = False) -> None:
        self.trials[trial.number] = trial
        if resumed:
            self.message = "resumed where an earlier run stopped"

    def epoch(self, trial: Trial, entry: Epoch) -> None:
        self.trials[trial.number] = trial
        self.epochs[trial.number] = entry

    def placed(self, number: int, *, training: bool) -> None:
        self.training = self.training | {number} if training else self.training - {number}

    def outlook(self, outlook: Outlook) -> None:
        self.ahead, self.estimated = outlook, time.perf_counter()

    def step(self, number: int, epoch: int, done: int, steps: int, loss: float) -> None:
        self.message = f"trial {number} {_batches(epoch, done, steps, loss)}"

    def ended(self, trial: Trial) -> None:
        self.trials[trial.number] = trial
        if trial.metrics:
            self._print(
                f"trial {trial.number:>3}  step {trial.label:<29} {format_macs(trial.cost.macs):>9}MACs  top-1 "
                f"{_top1(trial.metrics)}  {format_seconds(trial.train_seconds)}"
            )
        else:
            self._print(
                f"trial {trial.number:>3}  step {trial.label:<29} {trial.state.value}: {trial.error or _stopped(trial)}"
            )

    def _draw(self) -> Group:
        table = Table(title=None, expand=False, pad_edge=False)
        for name in ("trial", "candidate", "MACs", "epoch", "top-1 %", "loss", "left", "state"):
            table.add_column(name, justify="left" if name in ("candidate", "state") else "right")
        open_trials = [trial for trial in list(self.trials.values()) if not trial.state.ended]
        open_trials.sort(key=lambda trial: (trial.number not in self.training, trial.number))
        for trial in open_trials:
            entry = self.epochs.get(trial.number)
            left = (trial.suggestion.epochs - entry.epoch) * entry.seconds if entry else 0.0
            table.add_row(
                str(trial.number), trial.label, format_macs(trial.cost.macs),
                f"{entry.epoch if entry else 0}/{trial.suggestion.epochs}",
                percent(entry.top1) if entry else "", f"{entry.loss:.3f}" if entry else "",
                format_seconds(left) if entry else "", _phase(trial, self.training),
            )  # fmt: skip
        complete = [trial for trial in self.trials.values() if trial.state is TrialState.COMPLETE and trial.metrics]
        best = max(complete, key=lambda trial: trial.metrics.top1 if trial.metrics else 0.0, default=None)
        head = f"{self.title}   {format_seconds(time.perf_counter() - self.began)}"
        if self.ahead is not None:
            head += f"   {self.ahead.text(time.perf_counter() - self.estimated)}"
        if best is not None and best.metrics is not None:
            head += f"   best top-1 {in_percent(best.metrics.top1)} at {format_macs(best.cost.macs)}MACs (trial {best.number})"
        return Group(Text(head, style="bold"), table, Text(self.message, style="dim"))


def _top1(metrics: Metrics) -> str:
    return in_percent(metrics.top1, metrics.standard_error)


def _phase(trial: Trial, training: set[int]) -> str:
    return "paused" if trial.state is TrialState.PAUSED else "training" if trial.number in training else "queued"


def _stopped(trial: Trial) -> str:
    """How far a paused trial got."""
    top1 = f", top-1 {in_percent(trial.curve[-1].top1)}" if trial.curve else ""
    return f"after epoch {trial.reached} of {trial.suggestion.epochs}{top1}"


def _batches(epoch: int, done: int, steps: int, loss: float) -> str:
    return f"epoch {epoch}: {done} of {steps} batches, loss {loss:.3f}"


def watcher(console: Console, title: str) -> PlainLines | LiveTable:
    """A live table if the console is a terminal, otherwise plain lines."""
    return LiveTable(console, title) if console.is_terminal else PlainLines(console)
