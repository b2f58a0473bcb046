"""A limit on the time of one candidate, for one that hangs: in a Ray worker, which may be killed, and in this process,
which may not. Standard library only."""

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
    """Ends this process when the block takes longer, with the stack of every thread in `log`.

    The clock is a thread of the interpreter's own in C: it fires where Python code never runs again, as in a decoder
    that hangs in native code. What is left in `log` tells the next attempt, and the driver, that there was no crash.
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
    """Where an earlier attempt hung; nothing if none did."""
    return log.read_text(errors="replace") if log.exists() else ""


class Alarm:
    """Raises `TimedOut`, or what `late` makes of the seconds, in the block when it takes longer: between two of Python's
    instructions, so that an operator in native code is waited for. Once a second from then on, for code that takes exceptions
    in. Only in a process's main thread, where signals arrive; elsewhere there is no limit.
    """

    def __init__(self, seconds: float | None, late: Callable[[float], Exception] = TimedOut) -> None:
        self.seconds, self.late, self.held = seconds, late, False
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
        if not self.held and self.seconds is not None:
            raise self.late(self.seconds)

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """What is done in this block is done whole; an alarm that was due comes after it."""
        self.held = True
        try:
            yield
        finally:
            self.held = False
