"""A time limit for one candidate: for a Ray worker, which may be killed, and for this process. Standard library only."""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path

from expand.core.errors import ExpandError


class TimedOut(ExpandError):
    """A candidate took longer than its study allows."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"timeout after {seconds / 60:g} minutes (budget.minutes_per_trial)")


@contextlib.contextmanager
def ends_process(seconds: float | None, log: Path) -> Iterator[None]:
    """Ends this process if the block takes longer than `seconds`, and writes the stack of every thread to `log`.

    The timer is a C thread of the interpreter, so it also fires when native code hangs, such as a decoder. A remaining
    `log` shows the next attempt and the driver that the process timed out and did not crash.
    """
    if seconds is None:
        yield
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stream:
        faulthandler.dump_traceback_later(seconds, exit=True, file=stream)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
    log.unlink(missing_ok=True)


def stack(log: Path) -> str:
    """The stack of an earlier attempt that timed out; "" if none did."""
    return log.read_text(errors="replace") if log.exists() else ""


class Alarm:
    """Raises `late(seconds)` in a block that takes longer than `seconds`.

    It raises between two Python instructions, so native code finishes first, and again every second, because other code may
    catch the exception. It works only in the main thread, where signals arrive; elsewhere there is no limit.
    """

    def __init__(self, seconds: float | None, late: Callable[[float], Exception] = TimedOut) -> None:
        self.seconds, self.late, self.paused = seconds, late, False
        self.used = seconds is not None and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Alarm:
        if self.used and self.seconds is not None:
            self.handler = signal.signal(signal.SIGALRM, self._ring)
            self.timer = signal.setitimer(signal.ITIMER_REAL, self.seconds, 1.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self.used:
            signal.setitimer(signal.ITIMER_REAL, *self.timer)
            signal.signal(signal.SIGALRM, self.handler)

    def _ring(self, number: int, frame: types.FrameType | None) -> None:
        if not self.paused and self.seconds is not None:
            raise self.late(self.seconds)

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Delays an alarm to the end of the block, so that a write completes."""
        self.paused = True
        try:
            yield
        finally:
            self.paused = False
