"""Controls what Ray's thread may still record, and checks that the Ray cluster is alive."""

from __future__ import annotations

import contextlib
import faulthandler
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from expand.core import signals
from expand.core.errors import ExpandError
from expand.core.signals import Interrupted
from expand.search import ray_processes

if TYPE_CHECKING:
    from expand.search.engine import Search

SILENCE = 20.0  # seconds without an answer after which a cluster is lost


class LostRay(ExpandError):
    """The cluster is lost: running trials are marked, and resumed by the next driver."""


class Abandoned(BaseException):
    """Ends Ray's thread after the driver has decided to record nothing more."""


def _without_rays(arguments: threading.ExceptHookArgs) -> None:
    """Hides tracebacks of Ray's own threads after their cluster has ended."""
    if arguments.thread is None or not arguments.thread.name.startswith("ray"):
        threading.__excepthook__(arguments)


class Watched:
    """Gives Ray's thread access to the engine until the search is abandoned."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self._lock, self._abandoned = threading.RLock(), False
        self.over = self._started = False  # over: Ray is shutting down
        self._stacks = tempfile.TemporaryFile()  # noqa: SIM115 - open until the process ends
        self._answered: float | None = None  # when a given cluster last answered
        self._node_lives = True

    def __enter__(self) -> None:
        self._started = True

    def __exit__(self, *_: object) -> None:
        self.over = True

    def wait(self, thread: threading.Thread) -> Interrupted | LostRay | None:
        """Waits until Ray's thread ends, or until there is a reason not to wait. Must be called within `signals.blocked`."""
        threading.excepthook = _without_rays
        try:
            while thread.is_alive():
                self._expect_a_turn()
                thread.join(0.2)
                signals.receive()
                if thread.is_alive() and (reason := signals.noted() or self.lost()):
                    return reason
        finally:
            faulthandler.cancel_dump_traceback_later()
            signals.take_back()
        return None

    def _expect_a_turn(self) -> None:
        """Ends the process with code 1 unless this is called again soon. While Ray starts, it waits for a dead GCS in native code
        that holds the GIL, so that none of our threads can run. No trial runs at that time."""
        if self._started:
            faulthandler.cancel_dump_traceback_later()
        else:
            faulthandler.dump_traceback_later(SILENCE, exit=True, file=self._stacks)

    @contextlib.contextmanager
    def held(self) -> Iterator[Search]:
        """Locks the engine for a call that may write the record."""
        with self._lock:
            self.check()
            yield self.search

    def check(self) -> None:
        if self._abandoned:
            raise Abandoned

    def abandon(self) -> None:
        """Waits for a write in progress; afterwards only the caller may write the record."""
        self._abandoned = True
        if self._lock.acquire(timeout=5):
            self._lock.release()

    def lost(self) -> LostRay | None:
        """The reason why this cluster is lost; None if it is alive."""
        if self.over:
            return None
        reason = ray_processes.lost()
        if reason is None and not self._node_lives:
            reason = "the Ray cluster considers this machine's node dead"
        if reason is None and self._answered is not None and time.monotonic() - self._answered > SILENCE:
            reason = f"the Ray cluster has not answered for {SILENCE:g} seconds"
        return None if reason is None else LostRay(f"{reason}; run the same command again to resume")

    @contextlib.contextmanager
    def listening(self, node_lives: Callable[[], bool]) -> Iterator[None]:
        """Queries a given cluster every second during the block, in a thread, because a query may never return."""
        ended = threading.Event()

        def listen() -> None:
            while not ended.wait(1):
                with contextlib.suppress(Exception):  # no answer
                    self._node_lives, self._answered = node_lives(), time.monotonic()

        thread = threading.Thread(target=listen, daemon=True)
        self._answered = time.monotonic()
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(5)  # before Ray shuts down: a later query would start a cluster
            self._answered = None
