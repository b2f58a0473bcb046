"""SIGINT and SIGTERM: recorded when they arrive, raised where no operation is half done. Standard library only.

Inside `handled`, a signal raises `Interrupted` between two Python instructions. Inside `deferred` it is only recorded and
raised at the end of the block, so that a database write completes. `immediate` allows interrupts again, for long work
inside `deferred`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Iterator
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 2.0  # seconds after which a further signal ends the process at once


class Interrupted(BaseException):
    """The user or a scheduler asked this process to end."""

    def __init__(self, number: int) -> None:
        self.word = "interrupted" if number == signal.SIGINT else "terminated"
        self.exit_code = 128 + number
        super().__init__(self.word)


_noted: tuple[int, float] | None = None  # the first signal and when it came
_raises = True
_owner: int | None = None  # pid of the process that handles signals; forked processes inherit the handlers


def _handle(number: int, frame: types.FrameType | None) -> None:
    global _noted
    if os.getpid() != _owner:  # a loader's process: its parent ends it after an interrupt
        if number == signal.SIGTERM:
            os._exit(128 + number)
        return
    if _noted is None:
        _noted = number, time.monotonic()
        if _raises:
            raise Interrupted(number)
    elif time.monotonic() - _noted[1] > PATIENCE:
        os._exit(128 + number)


def _without_ours(arguments: sys.UnraisableHookArgs) -> None:
    """Hides the message that Python prints if it cannot raise an exception, such as while it frees an object; `check` raises the
    recorded signal later."""
    if arguments.exc_type is not Interrupted:
        sys.__unraisablehook__(arguments)


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Handles both signals inside the block; does nothing if they are handled already, or outside the main thread."""
    global _owner, _noted
    if _owner == os.getpid() or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.getsignal(number) for number in SIGNALS]
    _owner, _noted = os.getpid(), None
    sys.unraisablehook = _without_ours
    take_back()
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
        _owner = None


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Blocks both signals in the kernel. Threads that are started in this block never receive them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)  # a waiting signal is handled before this returns


def take_back() -> None:
    """Installs our handlers again, in the process and thread that had them."""
    if _owner == os.getpid() and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _handle)


def receive() -> None:
    """Within `blocked`: lets waiting signals arrive at our handlers. Ray installs a native handler before them, which aborts."""
    if not signal.sigpending() & set(SIGNALS):
        return
    take_back()
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def noted() -> Interrupted | None:
    """The signal that has arrived and has not ended the process yet."""
    return None if _noted is None or _owner is None else Interrupted(_noted[0])


def check() -> None:
    """Raises the recorded signal; again on every call, because other code may have caught the first exception."""
    if (arrived := noted()) is not None:
        raise arrived


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Delays signals to the end of the block."""
    with _raising(False):
        yield
    if _raises:
        check()


@contextlib.contextmanager
def immediate() -> Iterator[None]:
    """Lets a signal interrupt this block inside `deferred`."""
    check()
    with _raising(True):
        check()  # a signal may have arrived between the first check and the change
        yield


@contextlib.contextmanager
def _raising(raises: bool) -> Iterator[None]:
    global _raises
    if threading.current_thread() is not threading.main_thread():  # signals arrive in the main thread only
        yield
        return
    before, _raises = _raises, raises
    try:
        yield
    finally:
        _raises = before


def leave(code: int) -> NoReturn:
    """Ends the process, without the interpreter's clean-up if a daemon thread of ours runs, since it may hang in native code."""
    if any(thread.daemon and thread.name.startswith("expand") for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
