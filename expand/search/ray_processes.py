"""Starts the processes of a private Ray cluster in their own sessions, watches them, and ends them with all that they left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from expand.core.signals import SIGNALS

PREFIX = "expand-tune-"
LONGEST_TEMP = 24  # characters; Ray's sockets add about 70, and the path of a socket may have at most 107


class OwnSession(subprocess.Popen):  # type: ignore[type-arg]  # bytes or text, as Ray asks
    """A process that Ray starts, in its own session: signals to the driver's process group do not reach it, and the session also
    identifies its children after it has died."""

    started: list[OwnSession] = []  # noqa: RUF012 - shared by all, on purpose
    guard: subprocess.Popen[str] | None = None  # gets the session of each process

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # a child inherits what its thread blocks
        try:
            super().__init__(*arguments, **keywords, start_new_session=True)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self.started.append(self)
        if self.guard is not None and self.guard.stdin is not None:
            with contextlib.suppress(OSError):
                self.guard.stdin.write(f"{self.pid}\n")

    @property
    def name(self) -> str:
        command = self.args if isinstance(self.args, list) else [str(self.args)]
        return Path(str(command[0])).name


def lost() -> str | None:
    """Which of the two essential processes of the cluster has died, if any."""
    names = {"raylet": "raylet", "gcs_server": "GCS"}
    for process in list(OwnSession.started):
        if process.name in names and process.poll() is not None:
            return f"Ray's {names[process.name]} process (pid {process.pid}) has ended"
    return None


def end_all() -> None:
    """Kills all processes of this process's private cluster, and waits until they have ended."""
    _end({process.pid for process in OwnSession.started})
    OwnSession.started.clear()


def _end(sessions: set[int]) -> None:
    deadline = time.monotonic() + 3
    while (left := _of_sessions(sessions)) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        for own in OwnSession.started:
            own.poll()  # not left as a zombie
        time.sleep(0.02)


def _of_sessions(sessions: set[int]) -> list[psutil.Process]:
    """Live processes, without zombies; a killed process stays a zombie until its parent waits for it."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) in sessions and (process := psutil.Process(pid)).status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder for the files of Ray and Tune, removed at the end. First removes those of drivers that were killed."""
    base = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    if len(str(base)) > LONGEST_TEMP or not base.is_dir():
        base = Path("/tmp")
    _remove_abandoned(base)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    try:
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel releases it when this process ends in any way
            (folder / ".lock").rename(folder / "driver.lock")  # not visible before it was locked
            with _guarded(folder):
                yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _guarded(folder: Path) -> Iterator[None]:
    """Starts a small process that ends Ray's processes if this process is killed, or is ended by Ray's native code."""
    command = [sys.executable, "-m", "expand.search.ray_processes", str(folder)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    OwnSession.guard = guard = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, bufsize=1, start_new_session=True,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    try:
        yield
    finally:
        OwnSession.guard = None
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            guard.communicate("done\n", timeout=5)


def _guard(folder: Path) -> None:
    """The guard process: reads sessions until the driver has ended."""
    lines = sys.stdin.read().split()
    if "done" not in lines:
        _end({int(line) for line in lines})
        shutil.rmtree(folder, ignore_errors=True)
        print(
            "expand: the driver ended before it could say why (killed, or ended by Ray); run the same command again to resume",
            file=sys.stderr,
        )


def _remove_abandoned(base: Path) -> None:
    for path in base.glob(f"{PREFIX}*/driver.lock"):
        with contextlib.suppress(OSError), path.open() as lock:  # another user's cannot be opened
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]))
